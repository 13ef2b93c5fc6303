// What the kernels use of CUDA, for a C++ compiler: the threads of a block are fibers that take turns, and
// the blocks of a grid run one after another. A collective operation waits until all its threads have called
// it.
#pragma once

#include <math.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __builtin_assume(condition)
#define __shared__ static  // a block finds what the block before it left, as on a device

using cudaStream_t = void*;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulated {

struct Meeting {
  int arrived = 0;
  unsigned generation = 0;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[1 << 16]};
  dim3 index;
  unsigned number = 0;
  bool ended = false;
};

struct Warp {
  Meeting meeting;
  uint64_t values[32];
};

inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline Meeting block_meeting;
inline int block_size, counter;
inline bool moved;  // whether any thread got further since the scheduler last asked
inline Thread* current;
inline ucontext_t scheduler;
inline dim3 block_index, grid_size;
inline std::function<void()> kernel;

inline void meet(Meeting& meeting, int size) {
  const unsigned generation = meeting.generation;
  moved = true;
  if (++meeting.arrived == size) {
    meeting.arrived = 0;
    ++meeting.generation;
    return;
  }
  Thread* me = current;
  while (meeting.generation == generation) swapcontext(&me->context, &scheduler);
  moved = true;
}

inline Warp& own_warp() { return warps[current->number / 32]; }

// Every lane of the warp gives a value; `use` sees them all before any lane goes on.
template <typename Value, typename Use>
auto with_warp(Value value, Use use) {
  Warp& warp = own_warp();
  std::memcpy(&warp.values[current->number % 32], &value, sizeof(value));
  meet(warp.meeting, 32);
  const auto result = use(warp.values);
  meet(warp.meeting, 32);
  return result;
}

inline void run_thread() {
  kernel();
  current->ended = moved = true;
}

inline void run_block() {
  block_meeting = {};
  warps.assign((block_size + 31) / 32, {});
  for (int i = 0; i < block_size; ++i) {
    Thread& thread = threads[i];
    thread.ended = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = 1 << 16;
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, run_thread, 0);
  }
  for (int left = block_size; left > 0;) {
    moved = false;
    for (int i = 0; i < block_size; ++i) {
      if (threads[i].ended) continue;
      current = &threads[i];
      swapcontext(&scheduler, &current->context);
      left -= threads[i].ended;
    }
    if (!moved) {
      std::fprintf(stderr, "emulated CUDA: threads wait for threads that have ended\n");
      std::abort();
    }
  }
}

inline void launch(dim3 grid, dim3 block, std::function<void()> body) {
  kernel = std::move(body);
  grid_size = grid;
  block_size = static_cast<int>(block.x * block.y);
  while (static_cast<int>(threads.size()) < block_size) threads.emplace_back();
  for (int i = 0; i < block_size; ++i) {
    threads[i].number = i;
    threads[i].index = dim3(i % block.x, i / block.x);
  }
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      block_index = dim3(x, y);
      run_block();
    }
  }
}

}  // namespace emulated

#define threadIdx (emulated::current->index)
#define blockIdx emulated::block_index
#define gridDim emulated::grid_size

inline void __syncthreads() { emulated::meet(emulated::block_meeting, emulated::block_size); }

inline int __syncthreads_count(int holds) {
  if (emulated::block_meeting.arrived == 0) emulated::counter = 0;
  emulated::counter += holds != 0;
  __syncthreads();
  const int result = emulated::counter;
  __syncthreads();
  return result;
}

inline unsigned __ballot_sync(unsigned, bool holds) {
  return emulated::with_warp<uint64_t>(holds, [](const uint64_t* values) {
    unsigned bits = 0;
    for (int lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(values[lane]) << lane;
    return bits;
  });
}

template <typename Value>
Value __shfl_xor_sync(unsigned, Value value, int distance) {
  return emulated::with_warp(value, [distance](const uint64_t* values) {
    Value other;
    std::memcpy(&other, &values[emulated::current->number % 32 ^ distance], sizeof(other));
    return other;
  });
}

template <typename Number>
Number atomicAdd(Number* place, Number value) {
  const Number before = *place;
  *place += value;
  return before;
}

template <typename Number>
constexpr Number min(Number a, Number b) {
  return b < a ? b : a;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
