/* One picture enlarged by the models of the npm packages @upscalerjs/esrgan-*, to compare with (glide evaluate upsample --outside):
 *
 *     cd DIR && npm install --legacy-peer-deps pngjs @tensorflow/tfjs@4.11.0 @tensorflow/tfjs-backend-wasm@4.11.0 \
 *         @upscalerjs/esrgan-medium@1.0.0
 *     node tests/tools/esrgan.js DIR medium IN.png OUT.png SCALE
 *
 * DIR is where the packages are, the second word which of slim, medium and thick. Two threads of tfjs's WebAssembly backend. */
'use strict';
const fs = require('fs'), path = require('path');
const [dir, size, input, output, scale] = process.argv.slice(2);
const from = require('module').createRequire(path.resolve(dir, 'package.json'));
const { PNG } = from('pngjs'), tf = from('@tensorflow/tfjs'), wasm = from('@tensorflow/tfjs-backend-wasm');

async function loadModel(definition) {
  const folder = path.join(dir, 'node_modules/@upscalerjs', `esrgan-${size}`, 'models', `x${scale}`);
  const { modelTopology, weightsManifest } = JSON.parse(fs.readFileSync(path.join(folder, 'model.json')));
  const files = weightsManifest.flatMap((group) => group.paths).map((name) => fs.readFileSync(path.join(folder, name)));
  if (definition.setup) definition.setup(tf); /* layers of its own */
  return tf.loadLayersModel(tf.io.fromMemory({
    modelTopology,
    weightSpecs: weightsManifest.flatMap((group) => group.weights),
    weightData: new Uint8Array(Buffer.concat(files)).buffer,
  }));
}

async function main() {
  wasm.setWasmPaths(path.resolve(dir, 'node_modules/@tensorflow/tfjs-backend-wasm/dist') + '/');
  wasm.setThreadsCount(2);
  await tf.setBackend('wasm');
  let definition = from(`@upscalerjs/esrgan-${size}/${scale}x`);
  definition = definition.default || definition;
  const model = await loadModel(definition), png = PNG.sync.read(fs.readFileSync(input)), n = png.width * png.height;
  const [into, out] = [definition.inputRange, definition.outputRange].map((range) => 255 / range[1]), rgb = new Float32Array(3 * n);
  for (let i = 0; i < 3 * n; i++) rgb[i] = png.data[4 * Math.floor(i / 3) + i % 3] / into;
  const large = model.predict(tf.tensor4d(rgb, [1, png.height, png.width, 3])), [, height, width] = large.shape;
  const values = await large.data(), result = new PNG({ width, height });
  result.data.fill(255);
  for (let i = 0; i < 3 * width * height; i++)
    result.data[4 * Math.floor(i / 3) + i % 3] = Math.max(0, Math.min(255, Math.round(values[i] * out)));
  fs.writeFileSync(output, PNG.sync.write(result));
}

main().catch((error) => {
  console.error(String(error.message || error));
  process.exit(1);
});
