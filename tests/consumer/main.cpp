// Fits a line, saves it, and catches an error of the library's.

#include <cmath>
#include <coregrad/coregrad.h>
#include <cstdio>

int main() {
  using namespace coregrad;
  const Tensor x = linspace(-1, 1, 50), y = x * 3.0 + 0.5;
  const Tensor w = zeros({1}).set_requires_grad(true), b = zeros({1}).set_requires_grad(true);
  optim::SGD optimizer({w, b}, 0.5);
  const CompiledFunction step([&](std::span<const Tensor> batch) -> std::vector<Tensor> {
    optimizer.zero_grad();
    const Tensor loss = mean(square(batch[0] * w + b - batch[1])).realize();
    loss.backward();
    optimizer.step();
    return {loss};
  });
  for (int i = 0; i < 40; ++i) step({x, y});
  save_state_dict("line.rtch", {{"w", w.detach()}, {"b", b.detach()}});
  const double slope = load_state_dict("line.rtch")[0].second.item();
  bool caught = false;
  try {
    load_state_dict("nowhere.rtch");
  } catch (const IoError& error) {
    std::printf("%s\n", error.what());
    caught = true;
  }
  std::printf("slope %.4f\n", slope);
  return caught && std::abs(slope - 3) < 1e-3 ? 0 : 1;
}
