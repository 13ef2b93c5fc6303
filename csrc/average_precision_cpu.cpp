// lape::average_precision on the CPU. One sort of a unit's responses serves all languages, and the negated
// response too.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "arguments.h"
#include "number.h"

namespace lape {
namespace {

constexpr int kDigitBits = 11, kDigits = 3, kBins = 1 << kDigitBits;

// Packs a response, as an integer of the same order, into the upper half, and the sentence's language into
// the lower half.
inline uint64_t packed(float response, uint32_t language) {
  uint32_t bits = as_bits(response);
  if (bits == 0x80000000u) bits = 0;  // -0 and +0 are one value
  const uint32_t key = bits >> 31 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(key) << 32 | language;
}

inline uint32_t key_of(uint64_t entry) { return static_cast<uint32_t>(entry >> 32); }
inline uint32_t language_of(uint64_t entry) { return static_cast<uint32_t>(entry); }

// The working memory of one thread, which ranks one unit after another.
class Unit {
 public:
  Unit(const int64_t* labels, int64_t sentences, const std::vector<int64_t>& positives)
      : labels_(labels),
        sentences_(sentences),
        positives_(positives),
        entries_(sentences),
        spare_(sentences),
        below_(positives.size()),
        tied_(positives.size()) {}

  // Sorts the responses, ascending. Returns false, without sorting, where a response is NaN.
  bool sort(const float* responses) {
    for (auto& digit : bins_) digit.fill(0);
    bool whole = true;
    for (int64_t n = 0; n < sentences_; ++n) {
      whole &= responses[n] == responses[n];
      entries_[n] = packed(responses[n], static_cast<uint32_t>(labels_[n]));
      for (int d = 0; d < kDigits; ++d) ++bins_[d][digit_of(entries_[n], d)];
    }
    if (!whole) return false;
    for (int d = 0; d < kDigits; ++d) {
      uint32_t first = 0;
      for (uint32_t& bin : bins_[d]) {
        const uint32_t size = bin;
        bin = first;
        first += size;
      }
      for (const uint64_t entry : entries_) spare_[bins_[d][digit_of(entry, d)]++] = entry;
      entries_.swap(spare_);
    }
    return true;
  }

  // Adds up precision times positives over groups of equal responses, from the lowest up. The ranking of the
  // negated response runs from the lowest response to the end of the group. The ranking of the response runs
  // from the highest response down to the group, all of it included.
  void walk(double* response, double* negated) {
    const auto languages = static_cast<int64_t>(positives_.size());
    std::fill_n(response, languages, 0.0);
    std::fill_n(negated, languages, 0.0);
    std::fill(below_.begin(), below_.end(), 0);
    for (int64_t first = 0, last; first < sentences_; first = last) {
      for (last = first; last < sentences_ && key_of(entries_[last]) == key_of(entries_[first]); ++last) {
        ++tied_[language_of(entries_[last])];
      }
      for (int64_t n = first; n < last; ++n) {
        const uint32_t k = language_of(entries_[n]);
        const int64_t own = tied_[k];
        if (own == 0) continue;  // this language's sentences of the group are counted already
        tied_[k] = 0;
        const auto weight = static_cast<double>(own);
        response[k] +=
            weight * static_cast<double>(positives_[k] - below_[k]) / static_cast<double>(sentences_ - first);
        below_[k] += own;
        negated[k] += weight * static_cast<double>(below_[k]) / static_cast<double>(last);
      }
    }
    for (int64_t k = 0; k < languages; ++k) {
      response[k] /= static_cast<double>(positives_[k]);
      negated[k] /= static_cast<double>(positives_[k]);
    }
  }

 private:
  static uint32_t digit_of(uint64_t entry, int digit) {
    return static_cast<uint32_t>(entry >> (32 + digit * kDigitBits)) & (kBins - 1);
  }

  const int64_t* labels_;
  const int64_t sentences_;
  const std::vector<int64_t>& positives_;
  std::vector<uint64_t> entries_, spare_;
  std::vector<int64_t> below_, tied_;
  std::array<std::array<uint32_t, kBins>, kDigits> bins_;
};

// The number of each language's sentences.
std::vector<int64_t> counted(const at::Tensor& labels, int64_t languages) {
  std::vector<int64_t> positives(languages);
  const auto* label = labels.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < labels.size(0); ++n) {
    TORCH_CHECK(label[n] >= 0 && label[n] < languages, "label ", label[n], " of sentence ", n,
                " is not below ", languages);
    ++positives[label[n]];
  }
  const auto none = std::find(positives.begin(), positives.end(), 0);
  TORCH_CHECK(none == positives.end(), "language ", none - positives.begin(), " has no sentence");
  return positives;
}

at::Tensor average_precision(const at::Tensor& responses, const at::Tensor& labels, int64_t languages) {
  TORCH_CHECK(responses.scalar_type() == at::kFloat, "responses must be float32, not ",
              responses.scalar_type());
  TORCH_CHECK(responses.dim() == 2, "responses must have shape [units, sentences], not ", responses.sizes());
  TORCH_CHECK(responses.is_contiguous(), "responses must be contiguous");
  TORCH_CHECK(languages > 0, "there must be at least one language");
  const int64_t units = responses.size(0), sentences = responses.size(1);
  check_beside(labels, "labels", at::kLong, {sentences}, responses);
  const auto positives = counted(labels, languages);
  at::Tensor result = at::empty({2, units, languages}, responses.options().dtype(at::kDouble));
  const auto* values = responses.const_data_ptr<float>();
  const auto* label = labels.const_data_ptr<int64_t>();
  auto* precision = result.mutable_data_ptr<double>();
  std::atomic<int64_t> unreadable{units};
  at::parallel_for(0, units, 1, [&](int64_t begin, int64_t end) {
    Unit unit(label, sentences, positives);
    for (int64_t u = begin; u < end; ++u) {
      if (unit.sort(values + u * sentences)) {
        unit.walk(precision + u * languages, precision + (units + u) * languages);
        continue;
      }
      int64_t least = unreadable;
      while (u < least && !unreadable.compare_exchange_weak(least, u)) {
      }
    }
  });
  TORCH_CHECK(unreadable == units, "the responses of unit ", unreadable.load(), " hold a NaN");
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) { library.impl("average_precision", average_precision); }

}  // namespace lape
