/** For a worker: ends it when its launcher is gone, however that ended, so that no process is left behind. */
export function followLauncher(): void {
  if (!process.channel) return
  process.once('disconnect', () => {
    console.error('the launcher of this process is gone: ending')
    process.exit(1)
  })
  // Waiting for that must not keep a process alive that is done.
  process.channel.unref()
}
