// What a reader cannot see, or sees on top of something else: a list of findings, [] when all text fits.
(() => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) found.push(`page ${root.scrollWidth} > ${innerWidth}`);

  const named = (element, words) => `${element.tagName}.${element.getAttribute("class") ?? ""} ${words.trim().slice(0, 40)}`;
  const asked = new Map(); // the browser takes long to answer
  const sideways = element => {
    if (!asked.has(element)) asked.set(element, getComputedStyle(element).overflowX);
    return asked.get(element);
  };
  const listing = element => element.tagName === "PRE"; // may be moved sideways: its lines are not ours to break

  // boxes: wider than the window, or too narrow for what is in them
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || element.closest("svg > *") || element.parentElement.closest("pre")) continue;
    const name = () => named(element, element.textContent);
    if (box.right > innerWidth + 0.5 || box.left < -0.5) found.push(`${name()}: ${box.left} to ${box.right}`);
    if (element.clientWidth && element.scrollWidth > element.clientWidth + 1 && !listing(element))
      found.push(`${name()}: holds ${element.scrollWidth} in ${element.clientWidth}`);
  }

  // texts: each line of each, as far as the boxes around it let it be seen
  const lines = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const owner = node.parentElement;
    if (!node.data.trim() || owner.closest("script, style, title, pre")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const line of range.getClientRects()) {
      if (!line.width) continue;
      const name = named(owner, node.data);
      let { top, bottom } = line;
      for (let at = owner; at !== document.body; at = at.parentElement) {
        if (sideways(at) === "visible") continue;
        const box = at.getBoundingClientRect();
        if (at.matches(".name") && top >= box.bottom) { // hidden as a whole: the bar's legend has it
          bottom = top;
          break;
        }
        if (line.left < box.left - 0.5 || line.right > box.right + 0.5)
          found.push(`${name}: ${line.left} to ${line.right} seen through ${box.left} to ${box.right}`);
        if (sideways(at) === "hidden" && (top < box.top - 0.5 || bottom > box.bottom + 0.5))
          found.push(`${name}: cut above or below`);
        top = Math.max(top, box.top);
        bottom = Math.min(bottom, box.bottom);
      }
      if (bottom > top) lines.push({ node, name, left: line.left, right: line.right, top, bottom });
    }
  }

  // two texts in one place; letters of neighbouring lines may touch
  lines.sort((a, b) => a.top - b.top);
  lines.forEach((upper, index) => {
    for (let next = index + 1; next < lines.length && lines[next].top < upper.bottom; next++) {
      const lower = lines[next];
      if (upper.node === lower.node) continue;
      const across = Math.min(upper.right, lower.right) - Math.max(upper.left, lower.left);
      const down = Math.min(upper.bottom, lower.bottom) - lower.top;
      if (across > 1 && down > 0.4 * Math.min(upper.bottom - upper.top, lower.bottom - lower.top))
        found.push(`${upper.name}: lies over ${lower.name}`);
    }
  });
  return found;
})()
