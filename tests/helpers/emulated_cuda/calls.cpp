// The launches of the kernels for ctypes. Workspaces hold noise, as memory of a device does.
#include <vector>

#include "kernels.h"

namespace {

struct Workspace {
  std::vector<double> sums;
  std::vector<uint16_t> hits;
  std::vector<int32_t> rows;
  lape::Partials partials;

  Workspace(const lape::Rows& places, const int64_t* group, const lape::Sums& sums_, int row_block) {
    const bool sorted = group != nullptr && sums_.groups > 1;
    const int64_t blocks = lape::divide_up(places.number(), row_block) + (sorted ? sums_.groups : 0);
    const int64_t lists = sorted ? sums_.groups + 1 : 0;
    sums.assign(2 * blocks * places.columns, 1e9);
    hits.assign(blocks * (1 + sums_.thresholds) * places.columns, 12345);
    rows.assign(blocks + lists * (1 + places.number()), 54321);
    partials = {row_block,   blocks,      sums.data(), sums.data() + blocks * places.columns,
                hits.data(), rows.data(), nullptr,     nullptr};
    if (sorted) {
      partials.found = rows.data() + blocks;
      partials.order = partials.found + lists;
    }
  }
};

}  // namespace

extern "C" {

void activation_stats(int format, const void* x, const lape::Rows* rows, const int64_t* group,
                      const lape::Sums* sums, int row_block) {
  const Workspace space(*rows, group, *sums, row_block);
  launch_activation_stats(static_cast<lape::Format>(format), x, *rows, group, *sums, space.partials, nullptr);
}

void glu_stats(int format, int activation, const void* gate, const lape::Rows* gate_rows, const void* up,
               const lape::Rows* up_rows, void* out, const int64_t* group, const lape::Sums* sums,
               int row_block) {
  const Workspace space(*gate_rows, group, *sums, row_block);
  launch_glu_stats(static_cast<lape::Format>(format), static_cast<lape::Activation>(activation), gate,
                   *gate_rows, up, *up_rows, out, group, *sums, space.partials, nullptr);
}

void token_nll(int format, const void* logits, const lape::Rows* rows, const int64_t* target, double* nll) {
  launch_token_nll(static_cast<lape::Format>(format), logits, *rows, target, nll, nullptr);
}
}
