/**
 * Reverse-mode autograd. An op with an input that requires grad records one node; `backward` walks the tape once from
 * the end, frees each node as it goes, and leaves the gradients in the leaves' `.grad`.
 */
import { type NativeTensor, native, StarError } from '../native/index.js'
import { keep, scope, track } from './scope.js'
import { Tensor } from './tensor.js'

/** Where a tensor's gradient goes: output `index` of a node, or a leaf (`node` null). */
export interface Edge {
  node: TapeNode | null
  index: number
  leaf: Tensor | null
}

/** Gradients for the inputs of a node, given gradients of its outputs; null where there is none. */
export type Backward = (saved: Tensor[], grads: (Tensor | null)[], needs: boolean[]) => (Tensor | null)[]

interface TapeNode {
  readonly name: string
  readonly edges: (Edge | null)[]
  readonly saved: (Tensor | null)[]
  readonly backward: Backward
  readonly grads: (Tensor | null)[]
  /** Leaves that the node's backward gives gradients to besides those of its edges. */
  readonly inner: readonly Tensor[]
  /** Backward has used this node, or it was cleared: no gradient may reach it any more. */
  done: boolean
}

/** What an op tells the tape. */
export interface Record {
  name: string
  inputs: readonly (Tensor | null | undefined)[]
  outputs: readonly Tensor[]
  /** Tensors the backward reads; null entries keep their place as null. */
  save?: readonly (Tensor | null | undefined)[]
  backward: Backward
  /** Leaves whose gradients `backward` adds to by itself. */
  inner?: readonly Tensor[]
}

/**
 * Told of a leaf as soon as its `.grad` is complete, while the rest of backward still runs; not told of leaves that got no
 * gradient. It may replace `.grad`.
 */
export type GradientReady = (leaf: Tensor) => void

let tape: TapeNode[] = []
let recording = true

/** Runs `fn` without recording: nothing inside it can be differentiated. */
export function noGrad<T>(fn: () => T): T {
  const before = recording
  recording = false
  try {
    return fn()
  } finally {
    recording = before
  }
}

/** True when an op on these inputs must record itself. */
export function needsGrad(...inputs: readonly (Tensor | null | undefined)[]): boolean {
  return recording && inputs.some((t) => t && (t.requiresGrad || t.edge !== null))
}

function edgeOf(tensor: Tensor | null | undefined): Edge | null {
  if (!tensor) return null
  if (tensor.edge) return tensor.edge
  return tensor.requiresGrad ? { node: null, index: 0, leaf: tensor } : null
}

/** Puts one node on the tape if any input needs a gradient. Saved tensors stay alive until backward has used them. */
export function record(op: Record): void {
  if (!needsGrad(...op.inputs)) return
  const saved = (op.save ?? []).map((t) => (t ? keep(t.detach()) : null))
  const node: TapeNode = {
    name: op.name,
    edges: op.inputs.map(edgeOf),
    saved,
    backward: op.backward,
    grads: op.outputs.map(() => null),
    inner: op.inner ?? [],
    done: false,
  }
  op.outputs.forEach((output, index) => {
    output.edge = { node, index, leaf: null }
  })
  tape.push(node)
}

/** Frees what a node holds, and its way to earlier nodes, so that a kept output holds no graph. */
function release(node: TapeNode): void {
  node.done = true
  for (const t of node.saved) t?.dispose()
  for (const g of node.grads) g?.dispose()
  for (const list of [node.saved, node.grads, node.edges]) list.length = 0
}

/** Forgets all recorded nodes and frees what they saved: after a step that failed half-way, or a forward never differentiated. */
export function clearTape(): void {
  for (const node of tape) release(node)
  tape = []
}

/** Number of nodes on the tape. */
export function tapeLength(): number {
  return tape.length
}

/**
 * Adds a gradient to an edge. A handle that was made for it (`own`) is taken as it is, another one is aliased: memory is
 * written to only while nobody else holds it, so a gradient that goes several ways is copied by the first addition alone.
 */
function accumulate(edge: Edge, grad: Tensor, own: boolean): void {
  if (edge.node?.done)
    throw new StarError(
      'ERR_ARGUMENT',
      `backward: a gradient reached '${edge.node.name}', which an earlier backward or clearTape has used up: compute it again, or detach() its output`,
    )
  const expected = edge.leaf?.shape
  if (expected && grad.count !== edge.leaf!.count)
    throw new StarError(
      'ERR_INTERNAL',
      `backward: a gradient of shape (${grad.shape}) reached a tensor of shape (${expected})`,
    )
  const current = edge.leaf ? edge.leaf.grad : edge.node!.grads[edge.index]
  let next: Tensor
  if (!current) {
    next = own ? keep(grad) : keep(grad.detach())
    if (edge.leaf) next = ownLeafGrad(next, edge.leaf)
  } else if (current.handle.shared()) {
    next = keep(new Tensor(native.affine(current.handle, sameType(grad, current), 1, 1, 0)))
    current.dispose()
  } else {
    native.affineInto(current.handle, current.handle, sameType(grad, current), 1, 1, 0)
    next = current
  }
  if (edge.leaf) edge.leaf.grad = next
  else edge.node!.grads[edge.index] = next
}

/** A leaf whose gradient was made f32 adds up 16-bit ones in f32. */
const sameType = (grad: Tensor, { dtype }: Tensor): NativeTensor =>
  grad.dtype === dtype ? grad.handle : new Tensor(native.cast(grad.handle, dtype)).handle

/** A leaf's gradient outlives the walk and belongs to its owner, who may write to it: memory of its own, the leaf's shape. */
function ownLeafGrad(grad: Tensor, leaf: Tensor): Tensor {
  const shared = grad.handle.shared()
  if (!shared && grad.shape.join() === leaf.shape.join()) return grad
  const handle = shared ? native.affine(grad.handle, null, 1, 0, 0) : grad.handle.alias()
  const own = keep(new Tensor(handle.reshape(leaf.shape)))
  handle.release()
  grad.dispose()
  return own
}

/**
 * Adds d(loss)/d(leaf) to `.grad` of every leaf with requiresGrad that `loss` depends on, and clears the tape.
 * @param loss a scalar, or any tensor when `seed` (its gradient, same shape) is given
 */
export function backward(loss: Tensor, seed?: Tensor, onReady?: GradientReady): void {
  if (!seed && loss.count !== 1)
    throw new StarError('ERR_SHAPE', `backward: the loss has shape (${loss.shape}), expected one element`)
  if (!loss.edge?.node) {
    clearTape()
    throw new StarError('ERR_ARGUMENT', 'backward: the loss depends on no tensor that requires grad')
  }
  backwardFrom([[loss, seed ?? null]], onReady)
}

/** Backward from several tensors with a gradient each (null: ones). Clears the tape. */
export function backwardFrom(roots: readonly (readonly [Tensor, Tensor | null])[], onReady?: GradientReady): void {
  const nodes = tape
  tape = []
  const uses = onReady ? countUses(nodes) : null
  try {
    noGrad(() => {
      for (const [root, seed] of roots) {
        const edge = edgeOf(root)
        if (!edge) continue
        scope(() => accumulate(edge, seed ?? new Tensor(native.full(root.shape, root.dtype, root.device, 1)), !seed))
      }
      for (let node = nodes.at(-1); node; node = nodes.at(-1)) {
        if (node.grads.some((g) => g !== null)) step(node)
        const used = uses ? leavesOf(node) : []
        release(node)
        nodes.pop()
        for (const leaf of used) {
          const left = uses!.get(leaf)! - 1
          uses!.set(leaf, left)
          if (left === 0 && leaf.grad) onReady!(leaf)
        }
      }
    })
  } finally {
    for (const node of nodes) release(node)
  }
}

const leavesOf = ({ edges, inner }: TapeNode): Tensor[] => [...edges.flatMap((edge) => edge?.leaf ?? []), ...inner]

/** How many places of the tape add to the gradient of each leaf. */
function countUses(nodes: readonly TapeNode[]): Map<Tensor, number> {
  const uses = new Map<Tensor, number>()
  for (const node of nodes) for (const leaf of leavesOf(node)) uses.set(leaf, (uses.get(leaf) ?? 0) + 1)
  return uses
}

function step(node: TapeNode): void {
  scope(() => {
    const needs = node.edges.map((edge) => edge !== null)
    const inputs = node.backward(node.saved as Tensor[], node.grads, needs)
    inputs.forEach((grad, i) => {
      const edge = node.edges[i]
      if (!grad || !edge) return
      // A gradient that is handed on as it came, or goes to two inputs, stays its holder's.
      const own =
        !node.grads.includes(grad) &&
        !node.saved.includes(grad) &&
        inputs.indexOf(grad) === i &&
        inputs.lastIndexOf(grad) === i
      accumulate(edge, grad, own)
    })
  })
}

/**
 * A function of one tensor with its gradient there, on a tape of its own: what has been recorded stays as it is. Parameters with
 * requiresGrad that `fn` uses get their gradients as from `backward`.
 * @param fn x (…) → []
 * @returns fn(x) and d fn/dx, of x's shape, neither of them on a tape
 */
export function valueAndGrad(fn: (x: Tensor) => Tensor, x: Tensor): { value: Tensor; grad: Tensor } {
  const [outer, before] = [tape, recording]
  tape = []
  recording = true
  try {
    return scope(() => {
      const leaf = x.detach()
      leaf.requiresGrad = true
      const y = fn(leaf)
      backward(y)
      const grad = leaf.grad ?? new Tensor(native.full(x.shape, x.dtype, x.device, 0))
      if (leaf.grad) track(grad)
      leaf.grad = null
      return { value: y.detach(), grad }
    })
  } finally {
    clearTape()
    tape = outer
    recording = before
  }
}

/**
 * The result of `fn` with nothing left on the tape, and the leaves it used. Its ops do record themselves where recording is on: some of them round
 * otherwise when nothing is to be differentiated, and the second run must give what the first gave.
 */
function withoutTrace(fn: () => Tensor): { output: Tensor; leaves: Tensor[] } {
  const outer = tape
  tape = []
  try {
    const output = scope(() => fn().detach())
    return { output, leaves: [...new Set(tape.flatMap(leavesOf))] }
  } finally {
    clearTape()
    tape = outer
  }
}

/**
 * Runs `fn(inputs)` without keeping its intermediate tensors, and runs it again during backward (activation
 * checkpointing; Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). `fn` must be a pure function of its
 * inputs, of leaf parameters, whose gradients are added as usual, and of constants that live until backward.
 */
export function recompute<T extends (Tensor | null)[]>(fn: (...inputs: T) => Tensor, ...inputs: T): Tensor {
  const { output, leaves: inner } = withoutTrace(() => fn(...inputs))
  if (!recording) return output
  const marker: Record = {
    name: 'recompute',
    inputs,
    outputs: [output],
    save: inputs,
    inner,
    backward: (saved, [grad], needs) => {
      const outer = tape
      tape = []
      const before = recording
      recording = true
      try {
        const leaves = saved.map((t: Tensor | null, i) => {
          const leaf = t?.detach() ?? null
          if (leaf) leaf.requiresGrad = needs[i]
          return leaf
        }) as T
        const again = fn(...leaves)
        backwardFrom([[again, grad]])
        return leaves.map((leaf) => {
          if (!leaf) return null
          const g = leaf.grad
          leaf.grad = null
          if (g) track(g)
          return g
        })
      } finally {
        clearTape()
        tape = outer
        recording = before
      }
    },
  }
  // Parameters used inside `fn` are not among the inputs, so the node is recorded whether or not an input needs a gradient.
  if (needsGrad(...inputs)) record(marker)
  else {
    const anchor = Tensor.empty([0], { requiresGrad: true, device: output.device })
    record({
      ...marker,
      inputs: [...inputs, anchor],
      backward: (s, g, n) => [...marker.backward(s, g, n.slice(0, -1)), null],
    })
  }
  return output
}
