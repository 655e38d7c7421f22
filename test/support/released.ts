/** Small checkpoints with the names and nesting of the published ones. */
import { writeFileSync } from 'node:fs'
import type { Module } from '../../lib/nn/index.js'
import type { Tensor } from '../../lib/tensor/index.js'
import { checkpoint, int, tensor, text } from './torch-archive.js'

/** Dictionaries of tensors, numbers and lists of numbers. */
export type Tree = { [key: string]: Tensor | number | boolean | readonly number[] | Tree }

export const stateOf = (module: Module): Tree =>
  Object.fromEntries(Array.from(module.namedTensors(), ({ name, tensor }) => [name, tensor]))

const isTensor = (value: unknown): value is Tensor => typeof value === 'object' && value !== null && 'handle' in value

/** Writes a tree of f32 tensors as torch.save would. */
export function writeTree(file: string, tree: Tree): void {
  const storages: Record<string, Uint8Array> = {}
  const spell = (value: Tree[string]): string => {
    if (typeof value === 'number') return int(value)
    if (typeof value === 'boolean') return value ? '\x88' : '\x89'
    if (Array.isArray(value)) return `(${value.map(int).join('')}t`
    if (!isTensor(value))
      return `}(${Object.entries(value as Tree)
        .map(([key, inner]) => text(key) + spell(inner))
        .join('')}u`
    const key = String(Object.keys(storages).length)
    storages[key] = new Uint8Array(value.floats().buffer)
    const strides = value.shape.map((_, i) => value.shape.slice(i + 1).reduce((n, d) => n * d, 1))
    return tensor({ key, count: value.count, shape: value.shape, strides })
  }
  writeFileSync(file, checkpoint(`\x80\x02${spell(tree)}.`, storages))
}
