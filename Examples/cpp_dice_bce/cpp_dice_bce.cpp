/* Trains a small segmentation network in C++ alone: 3x3 convolutions by hand, segloss for the loss and its gradient.

   The layers see ever wider surroundings of a pixel (dilations 1, 2, 4, 8) and give one logit for each; the loss is Dice
   plus cross-entropy. The right third of the picture is held out. The program fails (exit code 1) if the loss did not
   halve, or if the network does not beat the best global threshold of grey there.

     cpp_dice_bce IMAGE.pgm MASK.pgm RESULT.ppm [STEPS]

   RESULT is the picture, with what the network found in green, what it missed in blue, what it made up in red. */
#include <losses.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

typedef std::vector<float> Floats;

/* ---- Pictures ---------------------------------------------------------------------------------------------------- */

struct Picture {
  int width, height;
  std::vector<uint8_t> pixels;
};

static Picture read_pgm(const std::string &path) {
  std::ifstream file(path.c_str(), std::ios::binary);
  std::string magic;
  int most = 0;
  Picture p = {0, 0, {}};
  if (!(file >> magic >> p.width >> p.height >> most) || magic != "P5" || most != 255)
    throw std::runtime_error(path + " is no grey PGM of one byte a pixel (see picture.py)");
  file.get();
  p.pixels.resize(size_t(p.width) * p.height);
  if (!file.read(reinterpret_cast<char *>(p.pixels.data()), p.pixels.size()))
    throw std::runtime_error(path + " is cut off");
  return p;
}

/* ---- The network ------------------------------------------------------------------------------------------------- */

/* Of a batch of maps. */
struct Shape {
  int count, channels, height, width;
  size_t map() const { return size_t(height) * width; }
  size_t all() const { return map() * channels * count; }
};

/* A 3x3 convolution with zeros around, after which everything below 0 becomes 0 unless it is the last. */
class Convolution {
 public:
  Convolution(int inputs, int outputs, int dilation, bool is_last, std::mt19937 &random)
      : inputs_(inputs), outputs_(outputs), dilation_(dilation), is_last_(is_last) {
    parameters_.resize(size_t(outputs) * (9 * inputs + 1)); /* weights, then biases */
    std::normal_distribution<float> normal(0, std::sqrt(2.f / (9 * inputs)));
    for (int i = 0; i < 9 * inputs * outputs; ++i) parameters_[i] = normal(random);
    gradient_ = mean_ = square_ = Floats(parameters_.size());
  }

  /* Takes the shape of x and leaves that of what it returns. x must stay until `backward`. */
  const Floats &forward(const Floats &x, Shape &shape) {
    x_ = &x;
    in_ = shape;
    shape.channels = outputs_;
    y_.resize(shape.all());
    const float *bias = &parameters_[size_t(9) * inputs_ * outputs_];
    for (size_t i = 0; i < y_.size(); ++i) y_[i] = bias[i / in_.map() % outputs_];
    each_row([&](size_t weight, size_t in, size_t out, int length) {
      const float w = parameters_[weight], *from = &(*x_)[in];
      float *to = &y_[out];
      for (int i = 0; i < length; ++i) to[i] += w * from[i];
    });
    if (!is_last_)
      for (float &v : y_) v = std::max(v, 0.f);
    return y_;
  }

  /* From the gradient of the output to that of the input, which is returned; the parameters' are kept for `step`. */
  const Floats &backward(Floats grad) {
    if (!is_last_)
      for (size_t i = 0; i < grad.size(); ++i) grad[i] = y_[i] > 0 ? grad[i] : 0;
    std::fill(gradient_.begin(), gradient_.end(), 0.f);
    grad_x_.assign(in_.all(), 0);
    float *bias = &gradient_[size_t(9) * inputs_ * outputs_];
    for (size_t i = 0; i < grad.size(); ++i) bias[i / in_.map() % outputs_] += grad[i];
    each_row([&](size_t weight, size_t in, size_t out, int length) {
      const float w = parameters_[weight], *x = &(*x_)[in], *g = &grad[out];
      float *to = &grad_x_[in], lanes[8] = {0};
      int i = 0;
      for (; i + 8 <= length; i += 8)
        for (int j = 0; j < 8; ++j) {
          to[i + j] += w * g[i + j];
          lanes[j] += x[i + j] * g[i + j];
        }
      for (; i < length; ++i) {
        to[i] += w * g[i];
        lanes[0] += x[i] * g[i];
      }
      for (float lane : lanes) gradient_[weight] += lane;
    });
    return grad_x_;
  }

  /* Adam (Kingma & Ba 2015). */
  void step(float rate, int time) {
    rate *= std::sqrt(1 - std::pow(0.999f, time)) / (1 - std::pow(0.9f, time));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      mean_[i] += 0.1f * (gradient_[i] - mean_[i]);
      square_[i] += 0.001f * (gradient_[i] * gradient_[i] - square_[i]);
      parameters_[i] -= rate * mean_[i] / (std::sqrt(square_[i]) + 1e-8f);
    }
  }

 private:
  int inputs_, outputs_, dilation_;
  bool is_last_;
  Floats parameters_, gradient_, mean_, square_, y_, grad_x_;
  const Floats *x_;
  Shape in_;

  /* Calls body(weight, first input, first output, length) for every weight and every row that it joins. */
  template <class Body>
  void each_row(Body body) const {
    for (int n = 0; n < in_.count; ++n)
      for (int o = 0; o < outputs_; ++o)
        for (int c = 0; c < inputs_; ++c)
          for (int k = 0; k < 9; ++k) {
            const int dy = (k / 3 - 1) * dilation_, dx = (k % 3 - 1) * dilation_;
            const int left = std::max(0, -dx), length = in_.width - std::abs(dx);
            for (int y = std::max(0, -dy); length > 0 && y < in_.height - std::max(0, dy); ++y)
              body((size_t(o) * inputs_ + c) * 9 + k,
                   (size_t(n) * inputs_ + c) * in_.map() + size_t(y + dy) * in_.width + left + dx,
                   (size_t(n) * outputs_ + o) * in_.map() + size_t(y) * in_.width + left, length);
          }
  }
};

typedef std::vector<Convolution> Network;

static const Floats &logits(Network &network, const Floats &input, Shape shape) {
  const Floats *x = &input;
  for (Convolution &layer : network) x = &layer.forward(*x, shape);
  return *x;
}

/* ---- The loss ---------------------------------------------------------------------------------------------------- */

/* Dice plus cross-entropy of a batch of logits, and its gradient. */
static double dice_bce(const Floats &logits, const std::vector<uint8_t> &target, Shape shape, Floats &gradient) {
  const int64_t extents[] = {shape.count, 1, shape.height, shape.width};
  const segloss_tensor input = segloss_from_dlpack(const_cast<float *>(logits.data()), SEGLOSS_DEVICE_CPU, 0, 4,
                                                   SEGLOSS_TYPE_FLOAT, 32, 1, extents, nullptr, 0);
  segloss_tensor mask = input, grad = input;
  mask.data = const_cast<uint8_t *>(target.data());
  mask.type_code = SEGLOSS_TYPE_UINT;
  mask.type_bits = 8;
  gradient.resize(logits.size());
  grad.data = gradient.data();
  segloss_dice_bce_parts parts = {sizeof parts, 0, 0, 0, 0, 0, 0};
  segloss_error error;
  if (segloss_dice_bce(&input, &mask, nullptr, nullptr, 1, &parts, &grad, nullptr, &error) != SEGLOSS_OK)
    throw std::runtime_error(error.message);
  return parts.loss;
}

/* ---- Training ---------------------------------------------------------------------------------------------------- */

static float scaled(uint8_t grey) { return (grey / 255.f - 0.5f) * 4; }

/* Random squares of the columns before `limit`, every other one mirrored. */
static void draw(const Picture &image, const Picture &mask, int limit, Shape shape, std::mt19937 &random, Floats &x,
                 std::vector<uint8_t> &y) {
  x.resize(shape.all());
  y.resize(shape.all());
  for (int n = 0; n < shape.count; ++n) {
    const int top = random() % (image.height - shape.height + 1), left = random() % (limit - shape.width + 1);
    for (size_t i = 0; i < shape.map(); ++i) {
      const int row = int(i) / shape.width, column = int(i) % shape.width;
      const size_t from = size_t(top + row) * image.width + left + (n % 2 ? shape.width - 1 - column : column);
      x[n * shape.map() + i] = scaled(image.pixels[from]);
      y[n * shape.map() + i] = mask.pixels[from] != 0;
    }
  }
}

/* Means of the first and of the last ten losses. */
static std::pair<double, double> train(Network &network, const Picture &image, const Picture &mask, int limit, Shape shape,
                                       int steps, std::mt19937 &random) {
  Floats x, gradient;
  std::vector<uint8_t> y;
  std::pair<double, double> means(0, 0);
  for (int step = 1; step <= steps; ++step) {
    draw(image, mask, limit, shape, random, x, y);
    const double loss = dice_bce(logits(network, x, shape), y, shape, gradient);
    const Floats *grad = &gradient;
    for (size_t i = network.size(); i-- > 0;) grad = &network[i].backward(*grad);
    /* The rate falls along half a cosine. */
    for (Convolution &layer : network) layer.step(0.005f * (1 + std::cos(3.14159f * step / steps)), step);
    if (step <= 10) means.first += loss / 10;
    if (step > steps - 10) means.second += loss / 10;
    std::fprintf(stderr, "\rstep %d of %d, loss %.3f ", step, steps, loss);
  }
  std::fputc('\n', stderr);
  return means;
}

/* Intersection over union of what is found and what is wanted, in the columns first ... last - 1. */
template <class Found>
static double iou(const Picture &mask, int first, int last, Found found) {
  size_t both = 0, either = 0;
  for (size_t i = 0; i < mask.pixels.size(); ++i) {
    const int column = int(i % mask.width);
    if (column < first || column >= last) continue;
    both += found(i) && mask.pixels[i];
    either += found(i) || mask.pixels[i];
  }
  return either ? double(both) / either : 1;
}

static void write_result(const std::string &path, const Picture &image, const Picture &mask, const Floats &map) {
  std::ofstream file(path.c_str(), std::ios::binary);
  file << "P6 " << image.width << ' ' << image.height << " 255\n";
  for (size_t i = 0; i < map.size(); ++i) {
    const bool found = map[i] > 0, wanted = mask.pixels[i] != 0;
    const int grey = image.pixels[i] / 2;
    const char rgb[] = {char(grey + 120 * (found && !wanted)), char(grey + 120 * (found && wanted)),
                        char(grey + 120 * (wanted && !found))};
    file.write(rgb, 3);
  }
  if (!file.flush()) throw std::runtime_error(path + " cannot be written");
}

static bool run(const std::string &image_path, const std::string &mask_path, const std::string &result, int steps) {
  const Picture image = read_pgm(image_path), mask = read_pgm(mask_path);
  const Shape batch = {4, 1, 96, 96}, whole = {1, 1, image.height, image.width};
  const int limit = image.width * 2 / 3; /* what lies right of it is held out */
  if (mask.width != image.width || mask.height != image.height || limit < batch.width || image.height < batch.height)
    throw std::runtime_error("image and mask must have one size, of at least 144 x 96");

  std::mt19937 random(0);
  Network network;
  for (int i = 0; i < 5; ++i) network.emplace_back(i ? 8 : 1, i < 4 ? 8 : 1, i < 4 ? 1 << i : 1, i == 4, random);
  const std::pair<double, double> losses = train(network, image, mask, limit, batch, steps, random);

  Floats x;
  for (uint8_t grey : image.pixels) x.push_back(scaled(grey));
  const Floats &map = logits(network, x, whole);
  write_result(result, image, mask, map);

  int best = 0; /* the stain is dark */
  double most = -1;
  for (int level = 0; level < 256; ++level) {
    const double score = iou(mask, 0, limit, [&](size_t i) { return image.pixels[i] < level; });
    if (score > most) most = score, best = level;
  }
  const double theirs = iou(mask, limit, image.width, [&](size_t i) { return image.pixels[i] < best; });
  const double ours = iou(mask, limit, image.width, [&](size_t i) { return map[i] > 0; });
  std::printf("loss          %.3f at first, %.3f at last\n", losses.first, losses.second);
  std::printf("held-out IoU  %.3f; of grey below %d, the best threshold in training, %.3f\n", ours, best, theirs);
  std::printf("the picture   %s\n", result.c_str());
  return losses.second < losses.first / 2 && ours > theirs;
}

int main(int count, char **arguments) {
  const int steps = count > 4 ? std::atoi(arguments[4]) : 400;
  if (count < 4 || count > 5 || steps < 20) {
    std::fprintf(stderr, "usage: %s IMAGE.pgm MASK.pgm RESULT.ppm [STEPS, at least 20]\n", arguments[0]);
    return 2;
  }
  try {
    std::printf("segloss %s, %s, %d threads\n", segloss_version(), segloss_instruction_set(nullptr),
                int(segloss_num_threads()));
    if (run(arguments[1], arguments[2], arguments[3], steps)) return 0;
    std::fprintf(stderr, "FAILED: it did not learn\n");
  } catch (const std::exception &problem) {
    std::fprintf(stderr, "FAILED: %s\n", problem.what());
  }
  return 1;
}
