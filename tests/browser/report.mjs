// Opens the page in headless Chromium and uses it as a person would: node report.mjs MODULES PAGE [SCREENSHOT FOLDER]
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [modules, page, shots] = process.argv.slice(2);
const { chromium } = createRequire(join(resolve(modules), "x.js"))("playwright-core");
const profile = mkdtempSync(join(tmpdir(), "seep-chromium-"));
let bad = 0;
const check = (ok, what) => { if (!ok) { bad++; console.log("not so: " + what); } };

const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium", headless: true, chromiumSandbox: false, viewport: { width: 1280, height: 900 },
  colorScheme: "light", args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const tab = await browser.newPage(), requests = [], errors = [];
  tab.on("request", r => { if (!/^(file|data|blob):/.test(r.url())) requests.push(r.url()); });
  tab.on("console", m => { if (m.type() === "error" || m.type() === "warning") errors.push(m.text()); });
  tab.on("pageerror", e => errors.push(String(e)));
  tab.on("dialog", d => { errors.push("a dialog: " + d.message()); d.dismiss(); });
  await tab.goto(pathToFileURL(page).href);
  await tab.waitForSelector(".box");
  const text = sel => tab.textContent(sel);
  const shoot = async (name, options) => { if (shots) await tab.screenshot({ path: join(shots, name + ".png"), ...options }); };

  // Verdict first, in the words of `seep leaks`.
  check((await text("h1")).startsWith("LEAK"), "the verdict comes first");
  check(/\d+ proven/.test(await text("h1")), "the verdict counts");
  check(await tab.locator(".finding").count() >= 4, "findings are there");
  check((await text(".finding dl")).includes("proof"), "a finding has its proof");

  const held = await tab.locator(".finding", { hasText: "subslice-retention" }).textContent();
  check(/held by/.test(held) && held.includes("global server+0x40") && held.includes("<script>alert(1)</script>"), "what keeps it is told from the root on: " + held);

  // Charts: painted pixels of more than the grid.
  const painted = await tab.$$eval(".chart canvas", all => all.map(c => {
    const px = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, seen = new Set();
    let n = 0;
    for (let i = 0; i < px.length; i += 4) if (px[i + 3] > 200) { n++; seen.add(px[i] << 16 | px[i + 1] << 8 | px[i + 2]); }
    return { share: n / (c.width * c.height), colours: seen.size };
  }));
  check(painted.length === 2, "two charts: memory and tasks");
  for (const p of painted) check(p.share > 0.05 && p.colours > 3, `a chart is drawn: ${JSON.stringify(p)}`);
  check((await text(".chart .legend")).includes("RSS"), "the legend names RSS");

  // Flame graph and the figures of the command line.
  const boxes = () => tab.locator(".flame .box").count();
  check(await boxes() > 4, "the flame graph has boxes");
  await shoot("light", { fullPage: true });

  // Markup in names stays text.
  check(await tab.evaluate(() => [...document.querySelectorAll(".finding code")].some(c => c.textContent.includes("<script>alert(1)</script>"))), "the name is there as text");
  check(await tab.locator("main script, main img").count() === 0, "no element came from the recording");
  check(await tab.evaluate(() => document.scripts.length) === 2, "no script was added");

  // Search.
  await tab.keyboard.press("/");
  check(await tab.evaluate(() => document.activeElement.id) === "search", "/ goes to the search");
  await tab.keyboard.type("script>alert");
  check(await tab.locator(".box.hit").count() >= 1, "search marks boxes");
  check(/^1 function,/.test(await text("output")), "search counts: " + await text("output"));
  check(await tab.locator(".functions tbody tr").count() === 1, "the table is filtered");
  await tab.locator(".functions tbody .code").click();
  check((await text(".panel")).includes("Callers") && (await text(".panel")).includes("server+0x2000"), "callers are shown");
  await tab.focus("#search");
  await tab.keyboard.press("Escape");
  check(await tab.locator(".box.hit").count() === 0, "Esc clears the search");

  // Keyboard in the flame graph.
  await tab.locator(".box.root").focus();
  await tab.keyboard.press("ArrowDown");
  const first = await tab.evaluate(() => document.activeElement.getAttribute("aria-label"));
  check(/of all/.test(first || ""), "a box is reached by keyboard and has a label: " + first);
  await tab.keyboard.press("Enter");
  check(await tab.locator(".box.above").count() === 1, "Enter zooms");
  await tab.keyboard.press("Escape");
  check(await tab.locator(".box.above").count() === 0, "Esc shows the whole graph");

  // Difference.
  await tab.locator("#metric").selectOption("inuse_space");
  await tab.evaluate(() => document.activeElement.blur());
  await tab.keyboard.press("d");
  check(await tab.getAttribute("#diff", "aria-pressed") === "true", "d shows a difference");
  await tab.locator("#base").selectOption({ index: 3 });
  check(await tab.locator(".box.grew i").count() > 0 && await tab.locator(".box.shrank i").count() > 0, "something grew, something shrank");
  check(/net [+−]/.test(await text(".total").then(t => t.replace(/\s+/g, " "))), "the net change is told: " + await text(".total"));
  check((await tab.locator(".box.grew").first().textContent()).includes("+"), "growth has a sign, not only a colour");
  await shoot("diff", { fullPage: true });
  await tab.keyboard.press("[");
  check((await tab.locator("#shown").inputValue()) !== "", "[ goes to the snapshot before");
  await tab.evaluate(() => document.activeElement.blur());
  await tab.keyboard.press("d");
  check(await tab.locator(".box.grew").count() === 0, "d shows the snapshot again");

  // A chart by keyboard and pointer.
  const shown = () => tab.inputValue("#shown");
  await tab.locator(".plot").first().focus();
  await tab.keyboard.press("Home");
  const home = await shown();
  await tab.keyboard.press("ArrowRight");
  check(await shown() !== home, "arrows in a chart choose the snapshot");
  const over = await tab.locator(".u-over").first().boundingBox();
  await tab.mouse.click(over.x + over.width - 3, over.y + 40);
  check(await shown() !== home, "a click in a chart chooses the snapshot");

  // Every metric of every process draws.
  for (const m of await tab.$$eval("#metric option", all => all.map(o => o.value))) {
    await tab.locator("#metric").selectOption(m);
    check(await boxes() >= 1, "metric " + m + " draws");
  }
  await tab.locator("#process").selectOption({ index: 1 });
  check((await text(".chart .readout")).includes("alert(3)"), "a label is text");
  await tab.locator("#process").selectOption({ index: 0 });

  // Names of controls, contrast of text.
  const nameless = await tab.$$eval("button, select, input, [role=treeitem], [tabindex]", all => all.filter(e => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML.slice(0, 80)));
  check(nameless.length === 0, "every control has a name: " + nameless);
  const contrast = () => tab.evaluate(() => {
    const rgb = s => (s.match(/[\d.]+/g) || []).map(Number), lum = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const out = [];
    for (const e of document.querySelectorAll("main *")) {
      if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest("svg, .box, :disabled") || !e.getClientRects().length) continue;
      let g = e, ground = [0, 0, 0, 0];
      while (g) { ground = rgb(getComputedStyle(g).backgroundColor); if (ground.length === 3 || ground[3] > 0) break; g = g.parentElement; }
      const a = lum(rgb(getComputedStyle(e).color)), b = lum(g ? ground.slice(0, 3) : [255, 255, 255]), c = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (c < 4.5) out.push(`${e.tagName}.${e.className} ${e.textContent.slice(0, 20)} ${c.toFixed(2)}`);
    }
    return out.slice(0, 5);
  });
  check((await contrast()).length === 0, "contrast in light: " + await contrast());
  await tab.emulateMedia({ colorScheme: "dark" });
  check((await contrast()).length === 0, "contrast in dark: " + await contrast());
  check(await tab.evaluate(() => getComputedStyle(document.documentElement).backgroundColor) === "rgb(20, 23, 26)", "dark where the system is");
  await shoot("dark", { fullPage: true });
  await tab.click("#theme");
  check(await tab.evaluate(() => getComputedStyle(document.documentElement).backgroundColor) === "rgb(255, 255, 255)", "the switch makes it light");

  // Phone and paper.
  await tab.setViewportSize({ width: 390, height: 800 });
  await tab.waitForTimeout(150);
  check(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a phone needs no sideways scrolling");
  await shoot("phone", { fullPage: true });
  await tab.setViewportSize({ width: 794, height: 1123 });
  await tab.emulateMedia({ media: "print", colorScheme: "light" });
  await tab.waitForTimeout(150);
  await shoot("print", { fullPage: true });
  check((await tab.pdf()).length > 10000, "it prints");

  check(requests.length === 0, "no request leaves the page: " + requests);
  check(errors.length === 0, "no error in the console: " + errors.join(" | "));
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
process.exit(bad ? 1 : 0);
