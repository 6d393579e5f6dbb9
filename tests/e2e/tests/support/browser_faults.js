// What is wrong with a page as it is shown: texts. Contrast is that of WCAG 2.2, 1.4.3 (AA).
const faults = [];
const told = (text) => faults.length < 20 && faults.push(text);
const name = (element) => `<${element.tagName.toLowerCase()} class="${element.className}"> ${element.textContent.trim().slice(0, 60)}`;

for (const entry of performance.getEntriesByType("resource")) told(`it loads ${entry.name}`);
if (document.scripts.length) told("it has a script");

const canvas = document.documentElement;
if (canvas.scrollWidth > canvas.clientWidth) told(`it is ${canvas.scrollWidth} wide in a window of ${canvas.clientWidth}`);

const parsed = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { red, green, blue, alpha };
};
const luminance = ({ red, green, blue }) => {
    const linear = [red, green, blue].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
// The first colour behind a text. Colours here are opaque, or not there.
const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
        const color = parsed(getComputedStyle(one).backgroundColor);
        if (color.alpha === 1) return color;
        if (color.alpha !== 0) told(`${name(one)} is half transparent`);
    }
    return { red: 255, green: 255, blue: 255, alpha: 1 };
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let texts = 0;
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true })) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [light, dark] = [luminance(parsed(style.color)), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < (large ? 3 : 4.5)) told(`a contrast of ${contrast.toFixed(2)}: ${name(element)}`);
    if (size < 10) told(`a font of ${size} pixels: ${name(element)}`);
}
if (texts < 20) told(`it shows only ${texts} texts`);

// The areas of a map fill it, and no two lie on one another.
for (const map of document.querySelectorAll(".map")) {
    if (!map.checkVisibility()) continue;
    const whole = map.getBoundingClientRect();
    const areas = [...map.querySelectorAll("p")].map((element) => ({ element, at: element.getBoundingClientRect() }));
    const out = areas.filter(({ at }) => at.left < whole.left - 1 || at.top < whole.top - 1 || at.right > whole.right + 1 || at.bottom > whole.bottom + 1);
    for (const { element } of out) told(`${name(element)} is beyond its map`);
    const size = ({ width, height }) => width * height;
    const sum = areas.reduce((sum, { at }) => sum + size(at), 0);
    if (Math.abs(sum / size(whole) - 1) > 0.02) told(`the areas of a map are ${(sum / size(whole)).toFixed(3)} of it`);
    const shared = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    areas.forEach((one, index) => {
        const other = areas.slice(index + 1).find((other) => shared(one.at, other.at));
        if (other) told(`${name(one.element)} lies on ${name(other.element)}`);
    });
}
return faults;
