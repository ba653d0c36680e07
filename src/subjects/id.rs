//! What a subject may be called.

/// The most bytes of an id.
const LONGEST: usize = 256;

/// Whether a subject may be called so. An id is one part of a path of the admin API, as it is written: clients leave out `.` there and
/// go up for `..`. And it is text of logs and of the keys of counters.
pub fn is_id(text: &str) -> bool {
    let is_path = text.contains('/') || text == "." || text == "..";
    !text.is_empty() && text.len() <= LONGEST && !is_path && !text.contains(char::is_control)
}

/// What an id is, for whoever wrote another text.
pub const ID: &str =
    "an id has from 1 to 256 bytes, and no `/` or control character in it, and is not `.` or `..`";

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::*;

    #[test]
    fn an_id_is_one_part_of_a_path() {
        let longest = "a".repeat(LONGEST);
        for right in ["a", "acme corp", "...", ".a", "ä\u{1f600}", "a:b?c=%2f", &*longest] {
            assert!(is_id(right), "{right:?}");
        }
        let too_long = longest + "a";
        for wrong in ["", ".", "..", "a/b", "/", "a\nb", "\u{7f}", "\u{85}", &*too_long] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn files_keep_to_what_the_admin_port_takes() {
        let wrong = Directory::parse("subjects:\n- id: a\n- id: ..\n- id: shop/1\n").unwrap_err();
        let told: Vec<_> = wrong.iter().map(|wrong| (wrong.line, wrong.column, &*wrong.message)).collect();
        let of = |id: &str| format!("`{id}` cannot be the id of a subject");
        assert_eq!(told, [(3, 7, &*of("..")), (4, 7, &*of("shop/1"))]);
        assert_eq!(wrong[0].hint.as_deref(), Some(ID));
    }
}
