// Opens a page in Chromium and prints what it saw, as JSON: node look.mjs PAGE.html PICTURES_FOLDER
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [file, pictures] = process.argv.slice(2);
const address = pathToFileURL(file).href;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = { light: ["light", 1200], dark: ["dark", 1200], phone: ["light", 360] };

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
try {
  const page = await browser.newPage();
  const asked = [];
  const said = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  const begun = performance.now();
  await page.goto(address, { waitUntil: "load" });
  const milliseconds = performance.now() - begun;

  const visible = () =>
    page.evaluate(() =>
      [...document.querySelectorAll("li.site")]
        .filter((site) => site.checkVisibility())
        .reduce((sum, site) => sum + Number(site.dataset.sites), 0),
    );
  const text = await page.evaluate(() => document.body.innerText);
  const points = await page.evaluate(() =>
    [...document.querySelectorAll(".source-line, .result-line")].map((line) => line.points.length),
  );
  const sites = { all: await visible() };

  const violations = {};
  const overflow = {};
  for (const [name, [scheme, width]] of Object.entries(VIEWS)) {
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run());
    violations[name] = found.violations.map((one) => `${one.id}: ${one.nodes[0].html}`);
    overflow[name] = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  }

  await page.type("#search", "up_blocks.0.attentions.1 fused");
  sites.searched = await visible();
  const found = await page.evaluate(() => document.getElementById("found").textContent);

  const plain = await browser.newPage();
  await plain.setJavaScriptEnabled(false);
  await plain.goto(address, { waitUntil: "load" });
  await plain.screenshot({ path: join(pictures, "plain.png"), fullPage: true });
  await plain.pdf({ path: join(pictures, "paper.pdf") });

  console.log(JSON.stringify({ milliseconds, asked, said, text, points, sites, violations, overflow, found }));
} finally {
  await browser.close();
}
