#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = new URL('../dist/lib/cli/main.js', import.meta.url)
if (existsSync(fileURLToPath(main))) {
  const { main: run } = await import(main.href)
  process.exitCode = await run(process.argv)
} else {
  console.error('error: star is not built: run "npm run setup" in the folder of this clone')
  process.exitCode = 2
}
