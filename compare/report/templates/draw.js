"use strict";
// Draw a digit and see what the networks of this comparison say. Strokes are lists of [x, y] from 0 to 1.
(() => {
  const SIZE = 28, BOX = 20, RADIUS = 0.9; // MNIST: a 20 by 20 box inside 28 by 28; half the width of a pen there, in pixels
  const networks = JSON.parse(document.getElementById("networks").textContent).map(({ name, layers }) => ({
    name,
    layers: layers.map((layer) => ({ ...layer, kernel: floats(layer.kernel), bias: floats(layer.bias) })),
  }));
  const samples = JSON.parse(document.getElementById("samples").textContent);
  const canvas = document.getElementById("draw"), seen = document.getElementById("seen");
  let strokes = [], sample = -1;

  function floats(base64) {
    return new Float32Array(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);
  }

  // Ink from 0 to 1 by the distance of each pixel's centre from the strokes, shape (784,), row by row.
  function rasterize(lines) {
    const pixels = new Float64Array(SIZE * SIZE);
    for (let row = 0; row < SIZE; row++) {
      for (let column = 0; column < SIZE; column++) {
        let nearest = Infinity;
        for (const line of lines) {
          for (let i = 0; i < line.length; i++) {
            const [ax, ay] = line[Math.max(0, i - 1)], [bx, by] = line[i];
            const dx = bx - ax, dy = by - ay, px = column + 0.5 - ax, py = row + 0.5 - ay;
            const length = dx * dx + dy * dy;
            const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
            nearest = Math.min(nearest, Math.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2));
          }
        }
        pixels[row * SIZE + column] = Math.min(1, Math.max(0, RADIUS + 0.5 - nearest));
      }
    }
    return pixels;
  }

  // As MNIST was prepared: scaled into a box of 20 by 20 pixels, then moved so that the centre of mass is the image's.
  function prepare(lines) {
    const points = lines.flat();
    if (!points.length) return new Float64Array(SIZE * SIZE);
    const low = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const high = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const extent = Math.max(high[0] - low[0], high[1] - low[1]);
    const scale = extent > 0 ? (BOX - 2 * RADIUS) / extent : 0;
    const place = (shift) => lines.map((line) => line.map((point) => [0, 1].map(
      (axis) => (point[axis] - (low[axis] + high[axis]) / 2) * scale + SIZE / 2 + shift[axis])));
    const centred = rasterize(place([0, 0]));
    let mass = 0, x = 0, y = 0;
    centred.forEach((ink, i) => { mass += ink; x += ink * (i % SIZE + 0.5); y += ink * (Math.floor(i / SIZE) + 0.5); });
    return rasterize(place([Math.round(SIZE / 2 - x / mass), Math.round(SIZE / 2 - y / mass)]));
  }

  // What a 3 by 3 convolution, a ReLU and 2 by 2 max pooling make of a map, channels innermost. A rest at the border is
  // left out; starting from zeros, the largest is that of the ReLU's too.
  function convolve(map, { kernel, bias }) {
    const filters = bias.length, channels = map.channels;
    const height = (map.height - 2) >> 1, width = (map.width - 2) >> 1;
    const values = new Float64Array(height * width * filters), sums = new Float64Array(filters);
    for (let row = 0; row < 2 * height; row++) {
      for (let column = 0; column < 2 * width; column++) {
        sums.set(bias);
        for (let i = 0; i < 9 * channels; i++) {
          const place = Math.floor(i / channels), y = row + Math.floor(place / 3), x = column + place % 3;
          const value = map.values[(y * map.width + x) * channels + i % channels];
          if (value !== 0) for (let filter = 0; filter < filters; filter++) sums[filter] += value * kernel[i * filters + filter];
        }
        const start = ((row >> 1) * width + (column >> 1)) * filters;
        sums.forEach((sum, filter) => { values[start + filter] = Math.max(values[start + filter], sum); });
      }
    }
    return { values, height, width, channels: filters };
  }

  function probabilities(network, pixels) {
    let map = { values: pixels, height: SIZE, width: SIZE, channels: 1 };
    for (const layer of network.layers) if (layer.convolution) map = convolve(map, layer);
    let values = map.values;
    const dense = network.layers.filter((layer) => !layer.convolution);
    dense.forEach(({ kernel, bias }, index) => {
      const units = bias.length, sums = Float64Array.from(bias);
      for (let i = 0; i < values.length; i++) {
        if (values[i] !== 0) for (let unit = 0; unit < units; unit++) sums[unit] += values[i] * kernel[i * units + unit];
      }
      values = index < dense.length - 1 ? sums.map((sum) => Math.max(0, sum)) : sums;
    });
    const largest = Math.max(...values), powers = Array.from(values, (value) => Math.exp(value - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }

  function show(pixels) {
    const context = seen.getContext("2d"), image = context.createImageData(SIZE, SIZE);
    pixels.forEach((ink, i) => image.data.set([255 * ink, 255 * ink, 255 * ink, 255], 4 * i));
    context.putImageData(image, 0, 0);
    const blank = pixels.every((ink) => ink === 0);
    const found = networks.map((network) => probabilities(network, pixels));
    for (let digit = 0; digit < found[0].length; digit++) {
      found.forEach((values, i) => {
        const cell = document.getElementById(`probability-${i}-${digit}`);
        cell.querySelector("meter").value = blank ? 0 : values[digit];
        cell.querySelector("span").textContent = blank ? "" : `${(100 * values[digit]).toFixed(1)}%`;
      });
    }
    document.getElementById("spoken").textContent = blank ? "Nothing is drawn yet." : networks.map(({ name }, i) => {
      const best = found[i].indexOf(Math.max(...found[i]));
      return `${name} sees a ${best} (${(100 * found[i][best]).toFixed(1)}%)`;
    }).join("; ") + ".";
    return { pixels: Array.from(pixels), probabilities: found };
  }

  function paint() {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.lineWidth = canvas.width / 13;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const line of strokes) {
      context.beginPath();
      line.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](x * canvas.width, y * canvas.height));
      if (line.length === 1) context.lineTo(line[0][0] * canvas.width, line[0][1] * canvas.height);
      context.stroke();
    }
    return show(prepare(strokes));
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    strokes.push([point(event)]);
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(point(event));
    paint();
  });
  document.getElementById("clear").addEventListener("click", () => { strokes = []; paint(); });
  document.getElementById("sample")?.addEventListener("click", () => {
    strokes = [];
    paint();
    sample = (sample + 1) % samples.length;
    const bytes = Uint8Array.from(atob(samples[sample]), (character) => character.charCodeAt(0));
    const pixels = Float64Array.from(bytes, (level) => level / 255);
    const context = canvas.getContext("2d"), side = canvas.width / SIZE;
    pixels.forEach((ink, i) => {
      context.fillStyle = `rgb(${255 * ink} ${255 * ink} ${255 * ink})`;
      context.fillRect((i % SIZE) * side, Math.floor(i / SIZE) * side, side + 0.5, side + 0.5);
    });
    show(pixels);
  });
  paint();
  // For tests, and for the curious in a console: what the page makes of given strokes.
  window.drawDigit = (lines) => { strokes = lines; return paint(); };
})();
