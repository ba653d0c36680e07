// Validates resources of Istio and of the Prometheus Operator: a JSON array on standard input; prints what is wrong, a line each.
// It finds wrong types, values that are none of those that there are, and what is missing; no misspelt keys.
// The first argument is the directory `node_modules` that has the schemas.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const kinds = {
  "networking.istio.io/v1alpha3 EnvoyFilter": "@kubernetes-models/istio/networking.istio.io/v1alpha3",
  "networking.istio.io/v1 DestinationRule": "@kubernetes-models/istio/networking.istio.io/v1",
  "monitoring.coreos.com/v1 ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};

for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const kind = `${resource.apiVersion} ${resource.kind}`;
  try {
    if (!kinds[kind]) throw new Error(`there is no schema of ${kind}`);
    const models = await import(pathToFileURL(`${process.argv[2]}/${kinds[kind]}/index.js`));
    new models[resource.kind](resource).validate();
  } catch (error) {
    console.log(`${resource.kind} ${resource.metadata?.name}: ${error.message}`);
  }
}
