// A thread that does jobs in the order they are given.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/process_group.h"
#include "core/error.h"

namespace star {

// A job of a queue. After a failure every later job fails in the same words.
class QueuedWork final : public Work {
 public:
  QueuedWork(std::function<void()> job, std::initializer_list<Tensor> tensors) : job_(std::move(job)), tensors_(tensors) {}

  bool done() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_;
  }
  void wait() override {
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [&] { return done_; });
    if (!error_.empty()) throw Error(ErrorCode::Comm, error_);
  }

 private:
  friend class WorkQueue;
  void finish(const std::string& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
    error_ = error;
    tensors_.clear();
    finished_.notify_all();
  }

  const std::function<void()> job_;
  std::vector<Tensor> tensors_;  // their memory lives until the job is done
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  std::string error_;
};

class WorkQueue {
 public:
  // `explain` turns what a job threw into the words of the error; it runs on the queue's thread, once.
  explicit WorkQueue(std::function<std::string(const std::string&)> explain) : explain_(std::move(explain)) {}
  ~WorkQueue() { end("the process group was closed"); }

  std::shared_ptr<Work> add(std::initializer_list<Tensor> tensors, std::function<void()> job);
  // What has not begun fails with `why`, unless something failed before; waits for the job that runs.
  void end(const std::string& why);

 private:
  void run();

  const std::function<std::string(const std::string&)> explain_;
  std::mutex mutex_;
  std::condition_variable given_;
  std::deque<std::shared_ptr<QueuedWork>> jobs_;
  std::string failed_;  // what went wrong first
  bool ended_ = false;
  std::thread thread_{[this] { run(); }};
};

}  // namespace star
