#include "simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace star::simt {

namespace {

constexpr size_t kPage = 4096;
// Instrumented frames carry red zones around every array.
constexpr size_t kStack = kAddressSanitizer ? 256 << 10 : 64 << 10;
constexpr size_t kSlot = kStack + kPage;  // a guard page below each stack turns an overflow into a crash
constexpr int kFibersInMap = 32;

thread_local void (*entry_body)() = nullptr;

void enter(boost::context::detail::transfer_t arrived) {
  static_cast<Fiber*>(arrived.data)->context = arrived.fctx;
  finish_switch(nullptr);
  entry_body();
}

}  // namespace

Fiber native_fiber() {
  Fiber fiber;
  if (!kAddressSanitizer) return fiber;  // nobody else asks where the stack lies
  pthread_attr_t attributes;
  void* stack = nullptr;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return fiber;
  pthread_attr_getstack(&attributes, &stack, &fiber.bytes);
  pthread_attr_destroy(&attributes);
  fiber.stack = static_cast<char*>(stack);
  return fiber;
}

FiberPool::FiberPool(void (*body)()) { entry_body = body; }

FiberPool::~FiberPool() {
  for (Fiber* fiber : all_) {
    forget_stack(fiber->stack, fiber->bytes);
    delete fiber;
  }
  for (char* map : maps_) munmap(map, kSlot * kFibersInMap);
}

void FiberPool::prepare(Fiber& fiber) {
  // Equal offsets within a page would put the hot end of every stack into the same cache sets.
  const size_t number = static_cast<size_t>(reinterpret_cast<uintptr_t>(fiber.stack) / kSlot);
  const size_t shift = number * 5 % 61 * 64;
  fiber.context = boost::context::detail::make_fcontext(fiber.stack + kStack - shift, kStack - shift, enter);
  fiber.fake_stack = nullptr;
}

void FiberPool::grow() {
  void* map = mmap(nullptr, kSlot * kFibersInMap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  maps_.push_back(static_cast<char*>(map));
  for (int i = kFibersInMap - 1; i >= 0; --i) {
    char* slot = static_cast<char*>(map) + static_cast<size_t>(i) * kSlot;
    mprotect(slot, kPage, PROT_NONE);
    auto* fiber = new Fiber;
    fiber->stack = slot + kPage;
    fiber->bytes = kStack;
    prepare(*fiber);
    all_.push_back(fiber);
    free_.push_back(fiber);
  }
}

void FiberPool::abandon(Fiber& fiber) {
  forget_stack(fiber.stack, fiber.bytes);
  prepare(fiber);
  give(fiber);
}

}  // namespace star::simt
