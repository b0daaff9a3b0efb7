// Draws a graph in the dot language, given on standard input, as SVG: Graphviz, compiled for Node.
const { readFileSync } = require("node:fs");
const { instance } = require("@viz-js/viz");

instance().then((graphviz) => {
  process.stdout.write(graphviz.renderString(readFileSync(0, "utf8"), { format: "svg" }));
});
