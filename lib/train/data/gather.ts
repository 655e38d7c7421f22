/** What the processes of a training tell each other beside gradients. */
import { scope, Tensor } from '../../tensor/index.js'
import type { TaskGroup } from './context.js'

/** One JSON value of each process, by rank, on all of them. */
export function gatherJson(group: TaskGroup, value: unknown, device: string): unknown[] {
  const text = new TextEncoder().encode(JSON.stringify(value))
  return scope(() => {
    const longest = Tensor.from(Int32Array.of(text.length), [1], { device })
    group.allReduce(longest, 'max').wait()
    const [bytes] = longest.ints()
    // Blanks behind a JSON text mean nothing.
    const padded = new Uint8Array(bytes).fill(0x20)
    padded.set(text)
    const input = Tensor.from(padded, [bytes], { device })
    const out = Tensor.empty([group.size * bytes], { dtype: 'u8', device })
    group.allGather(out, input).wait()
    const all = out.data() as Uint8Array
    return Array.from({ length: group.size }, (_, rank) =>
      JSON.parse(new TextDecoder().decode(all.subarray(rank * bytes, (rank + 1) * bytes))),
    )
  })
}
