/* The page of glide serve in a real browser: draws, watches previews, moves the slider on the way, draws a schedule by hand,
 * cancels, reloads, drops a recipe and a photo, paints a mask, enlarges, makes a grid, compares, opens the gallery. Every state is
 * checked for accessibility (axe-core) at 1440 and 390 pixels, light and dark, for sideways scrolling, and for messages on the
 * console.
 *
 *     cd DIR && npm install playwright-core axe-core                       (and a Chromium, Debian's package chromium)
 *     build/glide serve --port 7860 --gallery DIR/gallery &
 *     node tests/tools/page.js DIR http://127.0.0.1:7860/ [FOLDER]
 *
 * FOLDER gets a screenshot of each state. Exit status 1: something is not as it should be. CHROMIUM=/usr/bin/chromium */
'use strict';
const fs = require('fs'), path = require('path');
const [dir, url, shots] = process.argv.slice(2);
const from = require('module').createRequire(path.resolve(dir, 'package.json'));
const { chromium } = from('playwright-core'), axe = fs.readFileSync(from.resolve('axe-core/axe.min.js'), 'utf8');
const WAIT = 240000, problems = [];
let page;

function expect(good, text) {
  console.log((good ? 'ok    ' : 'FAIL  ') + text);
  if (!good) problems.push(text);
}

async function inspect(name) {
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  const told = found.violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.target.join(' ')).join(', '));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  expect(!told.length && !wide, 'axe ' + name + (wide ? ' scrolls sideways ' : ' ') + told.join('; '));
  if (shots) await page.screenshot({ path: path.join(shots, name + '.png'), fullPage: true });
}

async function inspectAll(name) {
  for (const width of [1440, 390])
    for (const theme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: width === 390 ? 844 : 900 });
      await page.evaluate((t) => setTheme(t), theme);
      await page.waitForTimeout(150);
      await inspect(`${name}-${width}-${theme}`);
    }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.evaluate(() => setTheme('light'));
}

const status = () => page.textContent('#status');
const wait = (what, argument) => page.waitForFunction(what, argument, { timeout: WAIT });
const until = (words) => wait((w) => new RegExp(w).test(document.querySelector('#status').textContent), words);
const set = (selector, value) => page.$eval(selector, (e, v) => {
  e.value = v;
  e.dispatchEvent(new Event('input', { bubbles: true }));
}, String(value));
const view = (name) => page.click(`nav [data-view=${name}]`);

async function steps(sampler, text) {
  await page.selectOption('#sampler', sampler);
  await page.fill('#steps', text);
  await page.dispatchEvent('#steps', 'change');
}

async function drop(bytes, name) {
  const data = await page.evaluateHandle(([text, n]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], n, { type: 'image/png' }));
    return transfer;
  }, [bytes.toString('base64'), name]);
  await page.dispatchEvent('body', 'dragenter', { dataTransfer: data });
  await page.dispatchEvent('body', 'drop', { dataTransfer: data });
}

/* A picture of the browser's own, without a recipe. */
const photo = async (w, h) => Buffer.from(await page.evaluate(async ([width, height]) => {
  const canvas = document.createElement('canvas'), c = Object.assign(canvas, { width, height }).getContext('2d');
  for (let x = 0; x < width; x++) { c.fillStyle = `hsl(${x * 3} 60% 50%)`; c.fillRect(x, 0, 1, height); }
  return canvas.toDataURL('image/png').split(',')[1];
}, [w, h]), 'base64');

async function open(browser) {
  page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) problems.push('console: ' + m.text()); });
  page.on('pageerror', (e) => problems.push('page: ' + e));
  await page.addInitScript(axe);
  await page.goto(url);
  await wait(() => document.querySelectorAll('#sampler option').length > 3);
}

/* Previews are counted, and what the status said is kept. */
const watch = () => page.evaluate(() => {
  window.seen = new Set();
  window.said = new Set();
  new MutationObserver(() => {
    for (const i of document.querySelectorAll('#shots img')) seen.add(i.src);
    said.add(document.querySelector('#status').textContent);
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
});

async function drawAndSteer() {
  await inspectAll('start');
  await page.fill('#prompt', 'red apple, fluent 3d emoji');
  await page.fill('#seed', '7');
  await steps('ddim', '96');
  await page.uncheck('#upsample');
  await watch();
  await page.click('#go');
  await wait(() => seen.size >= 3);
  expect(true, 'three previews');
  await set('#slider', 6);
  await wait(() => [...said].some((t) => t.startsWith('Guidance changed')));
  expect(true, 'slider on the way');
  await until('^Done');
  expect(await page.evaluate(() => seen.size) >= 10, 'previews in all: ' + await page.evaluate(() => seen.size));
  await inspectAll('done');
}

async function goOnAndCurve() {
  await set('#scrub', 6);
  expect(/^Step 6/.test(await page.textContent('#scrubText')), 'scrubbed back');
  await set('#slider', 1.5);
  await page.click('#branch');
  await until('^Done');
  await page.waitForTimeout(300);
  const box = await page.locator('#curve').boundingBox();
  await page.mouse.move(box.x + 30, box.y + 85);
  await page.mouse.down();
  for (let i = 0; i < 12; i++) await page.mouse.move(box.x + 30 + i * 25, box.y + 85 - i * 6);
  await page.mouse.up();
  const points = await page.inputValue('#points');
  expect(/^(\d+(\.\d{1,3})?:\d+(\.\d{1,2})?,?)+$/.test(points), 'drawn by hand: ' + points);
  await steps('ddim', '8');
  await page.click('#go');
  await until('^Done');
  expect(true, 'done with the drawn schedule');
}

async function cancelAndReload() {
  await page.selectOption('#shape', '');
  await steps('ddpm', '900');
  await page.click('#go');
  await until('^Step');
  await page.click('#cancel');
  await until('^Cancelled');
  expect(true, 'cancelled');
  await page.reload();
  await wait(() => document.querySelectorAll('#jobs li').length > 0);
  expect(true, 'the queue is back after reloading');
}

async function dropAndPaint() {
  const list = await (await fetch(url + 'api/gallery')).json();
  await page.fill('#prompt', '');
  await drop(Buffer.from(await (await fetch(url + 'api/gallery/' + list.at(-1).name)).arrayBuffer()), 'recipe.png');
  await wait(() => document.querySelector('#prompt').value.startsWith('red apple'));
  expect(await page.inputValue('#seed') === '7', 'a dropped PNG brings its recipe');
  if (await page.isHidden('#sourceBox')) await drop(await photo(64, 64), 'photo.png');
  await page.waitForSelector('input[name=use][value=paint]');
  await page.check('input[name=use][value=paint]');
  await page.waitForSelector('#mask[open]');
  const box = await page.locator('#maskCanvas').boundingBox();
  await page.mouse.move(box.x + box.width / 3, box.y + box.height / 3);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 6 });
  await page.mouse.up();
  await inspectAll('mask');
  await page.click('#mask .button.main');
  await steps('ddim', '4');
  await page.uncheck('#upsample');
  await page.click('#go');
  await until('^Step');
  await until('^(Done|Failed)');
  expect(/^Done/.test(await status()), 'painted: ' + await status());
}

async function enlarge() {
  await drop(await photo(60, 40), 'photo.png');
  await wait(() => document.querySelector('input[name=use][value=upsample]').checked);
  await page.$eval('#more', (e) => { e.open = true; });
  await page.fill('#upsteps', '3');
  expect(/60×40 to 240×160/.test(await page.textContent('#enlargeSize')), 'told: ' + await page.textContent('#enlargeSize'));
  await watch();
  await page.click('#go');
  await until('^Upsampling');
  await inspectAll('enlarging');
  await until('^(Done|Failed)');
  await wait(() => (document.querySelector('#shots img') || {}).naturalWidth === 240);
  expect(await page.$eval('#shots img', (e) => e.naturalWidth) === 240, 'enlarged: ' + await status());
  expect(await page.evaluate(() => seen.size) >= 3, 'shown while it formed: ' + await page.evaluate(() => seen.size));
  await page.click('#sourceOff');
}

async function otherViews() {
  await steps('ddim', '4');
  await page.fill('#prompt', 'red apple, noto emoji');
  await page.uncheck('#upsample');
  await view('grid');
  await page.fill('#values0', '1, 4');
  await page.click('#gridGo');
  await page.waitForSelector('#gridSave:not([hidden])', { timeout: WAIT });
  await inspectAll('grid');
  await view('compare');
  await page.click('#pairGo');
  await wait(() => !document.querySelector('#left').disabled);
  await inspectAll('compare');
  await page.keyboard.press('ArrowLeft');
  await wait(() => document.querySelectorAll('#ratings tr').length === 2);
  expect(true, 'compared');
  await wait(() => !document.querySelector('#left').disabled);
  await view('gallery');
  await page.waitForSelector('#tiles img');
  await inspectAll('gallery');
  await page.click('#tiles button');
  await page.waitForSelector('#view[open]');
  await page.waitForTimeout(300);
  await inspectAll('picture');
  await page.keyboard.press('Escape');
  await page.click('#help');
  await inspectAll('keys');
}

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    await open(browser);
    for (const part of [drawAndSteer, goOnAndCurve, cancelAndReload, dropAndPaint, enlarge, otherViews]) await part();
  } catch (error) {
    problems.push(String(error.message || error));
  }
  await browser.close();
  console.log(problems.length ? problems.length + ' problems:\n' + problems.join('\n') : 'all as it should be');
  process.exit(problems.length ? 1 : 0);
}
main();
