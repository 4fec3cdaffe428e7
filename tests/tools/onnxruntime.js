/* Seconds of ONNX Runtime for the pair of a guided step of GLIDE's base model, f32, two threads, text transformer included:
 *
 *     cd DIR && npm install --ignore-scripts onnxruntime-node@1.30.0
 *     python3 tests/reference/export_onnx.py base.onnx
 *     node tests/tools/onnxruntime.js DIR base.onnx [RUNS]
 *
 * DIR is where the package is. The median of so many runs (5) after one that is not counted. */
'use strict';
const path = require('path');
const [dir, model, runs] = process.argv.slice(2);
const ort = require('module').createRequire(path.resolve(dir, 'package.json'))('onnxruntime-node');

async function main() {
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: 2, interOpNumThreads: 1, graphOptimizationLevel: 'all',
  });
  const feeds = {
    x: new ort.Tensor('float32', Float32Array.from({ length: 2 * 3 * 64 * 64 }, () => Math.random() * 2 - 1), [2, 3, 64, 64]),
    t: new ort.Tensor('int64', BigInt64Array.from([500n, 500n]), [2]),
    tok: new ort.Tensor('int64', new BigInt64Array(2 * 128), [2, 128]),
    mask: new ort.Tensor('bool', new Uint8Array(2 * 128).fill(1), [2, 128]),
  };
  const seconds = [];
  await session.run(feeds);
  for (let i = 0; i < (+runs || 5); i++) {
    const start = performance.now();
    await session.run(feeds);
    seconds.push((performance.now() - start) / 1000);
  }
  seconds.sort((a, b) => a - b);
  console.log(`ONNX Runtime, f32, base pair: ${seconds[seconds.length >> 1].toFixed(3)} s ` +
              `(median of ${seconds.length}, fastest ${seconds[0].toFixed(3)})`);
}

main().catch((e) => {
  console.error(`onnxruntime.js: ${e.message}`);
  process.exit(2);
});
