// Builds what the service has parsed: Markdown and drawings come as trees `[name, {…}, child, …]`.
// Only what is named here becomes an element or an attribute, so nothing in a tree can run.

const SVG = "http://www.w3.org/2000/svg";
const HEADINGS = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", h6: "h6" };
const TAGS = new Set([
  ...["a", "blockquote", "br", "code", "em", "hr", "li", "ol", "p", "pre", "s", "strong", "table"],
  ...["tbody", "td", "th", "thead", "tr", "ul"],
]);
const ALIGNMENTS = new Set(["left", "center", "right"]);
const SVG_TAGS = new Set([
  ...["svg", "g", "rect", "path", "text", "tspan", "title", "desc", "line", "polyline", "polygon"],
  ...["circle", "ellipse", "defs", "marker"],
]);
const SVG_ATTRIBUTES = new Set([
  ...["class", "id", "viewBox", "width", "height", "x", "y", "x1", "y1", "x2", "y2", "rx", "ry"],
  ...["r", "cx", "cy", "d", "points", "transform", "text-anchor", "dominant-baseline", "dx", "dy"],
  ...["marker-end", "marker-start", "refX", "refY", "markerWidth", "markerHeight", "orient"],
  ...["markerUnits", "role", "data-op", "preserveAspectRatio", "fill", "stroke", "stroke-width"],
  ...["stroke-dasharray", "font-family", "font-size", "font-style", "font-weight"],
]);

export function isLink(url) {
  return /^(https?:|mailto:)/i.test(url);
}

function setAttributes(node, tag, attributes) {
  if (tag === "a") {
    node.target = "_blank";
    node.rel = "noopener noreferrer nofollow";
    if (isLink(attributes.href ?? "")) node.setAttribute("href", attributes.href);
  }
  if (tag === "ol" && /^\d{1,9}$/.test(attributes.start ?? "")) {
    node.setAttribute("start", attributes.start);
  }
  if (tag === "code" && attributes["data-language"]) {
    node.dataset.language = attributes["data-language"];
  }
  if (ALIGNMENTS.has(attributes["data-align"])) node.dataset.align = attributes["data-align"];
  if (tag === "pre" || tag === "table") node.tabIndex = 0;
}

export function build(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [name, attributes, ...children] = tree;
  const tag = HEADINGS[name] ?? name;
  if (!Object.values(HEADINGS).includes(tag) && !TAGS.has(tag)) {
    return document.createTextNode("");
  }
  const node = document.createElement(tag);
  setAttributes(node, tag, attributes);
  node.append(...children.map(build));
  return node;
}

// Changes the children of `node` from those of `old` to those of `trees`, and touches no others:
// what somebody has marked in a text that grows stays marked.
export function patch(node, old, trees) {
  trees.forEach((tree, index) => {
    const before = old[index];
    if (before === undefined) {
      node.append(build(tree));
    } else if (typeof tree === "string" && typeof before === "string") {
      if (tree !== before) growText(node.childNodes[index], before, tree);
    } else if (sameElement(tree, before)) {
      patch(node.childNodes[index], before.slice(2), tree.slice(2));
    } else {
      node.childNodes[index].replaceWith(build(tree));
    }
  });
  while (node.childNodes.length > trees.length) node.lastChild.remove();
}

function growText(text, before, after) {
  if (after.startsWith(before)) text.appendData(after.slice(before.length));
  else text.data = after;
}

function sameElement(tree, before) {
  return (
    Array.isArray(tree) &&
    Array.isArray(before) &&
    tree[0] === before[0] &&
    JSON.stringify(tree[1]) === JSON.stringify(before[1])
  );
}

export function buildSvg(tree) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [tag, attributes, ...children] = tree;
  if (!SVG_TAGS.has(tag)) return document.createTextNode("");
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    // A url() in a value would load something.
    if (SVG_ATTRIBUTES.has(name) && !/url\(/i.test(value)) node.setAttribute(name, value);
  }
  node.append(...children.map(buildSvg));
  return node;
}
