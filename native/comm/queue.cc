#include "comm/queue.h"

namespace star {

std::shared_ptr<Work> WorkQueue::add(std::initializer_list<Tensor> tensors, std::function<void()> job) {
  auto work = std::make_shared<QueuedWork>(std::move(job), tensors);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_ || !failed_.empty())
    work->finish(failed_);
  else
    jobs_.push_back(work);
  given_.notify_one();
  return work;
}

void WorkQueue::run() {
  for (;;) {
    std::shared_ptr<QueuedWork> work;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      given_.wait(lock, [&] { return ended_ || !jobs_.empty(); });
      if (ended_) return;
      work = jobs_.front();
      jobs_.pop_front();
    }
    std::string error;
    try {
      work->job_();
    } catch (const std::exception& e) {
      error = explain_(e.what());
    }
    std::deque<std::shared_ptr<QueuedWork>> rest;
    if (!error.empty()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      failed_ = error;
      rest.swap(jobs_);
    }
    work->finish(error);
    for (const auto& later : rest) later->finish(error);
  }
}

void WorkQueue::end(const std::string& why) {
  std::deque<std::shared_ptr<QueuedWork>> rest;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failed_.empty()) failed_ = why;
    ended_ = true;
    rest.swap(jobs_);
    given_.notify_one();
  }
  for (const auto& work : rest) work->finish(failed_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace star
