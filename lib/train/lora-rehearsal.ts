/** The rehearsal of a LoRA's training on a frozen model. */
import { LoraAdapters, layersOf } from '../models/lora/index.js'
import { type StarConfig, StarTransformer, tokenObjective } from '../models/star/index.js'
import { Tokenizer, type TokenizerConfig } from '../models/tokenizer/index.js'
import { add, Random, slice, Tensor } from '../tensor/index.js'
import { precisionOn } from './config/precision.js'
import type { ResolvedOptimizer } from './config/resolve.js'
import type { Batch } from './data/batch.js'
import type { LoraRunConfig } from './kinds/lora/config.js'
import type { Figures, Task } from './kinds/task.js'
import {
  batchOf,
  figuresOf,
  measured,
  type RehearsalOptions,
  type Rehearsed,
  step,
  textOf,
  unsaved,
} from './rehearsal.js'

export interface LoraStep {
  run: LoraRunConfig
  /** Of the base, which is kept in the precision of the run. */
  config: StarConfig
  /** Of the optimizer, with lengths in steps. */
  optimizer: ResolvedOptimizer
  tokenizer: TokenizerConfig
}

/** A step of a LoRA's training with the whole batch of the run, and with as many pictures of a prior where it has one. */
export function rehearseLoraStep(
  { run, config, optimizer, tokenizer }: LoraStep,
  options: RehearsalOptions,
): Promise<Rehearsed> {
  const { device, onPart } = options
  const { rank, alpha = rank, targets, prior, recompute } = run
  const precision = precisionOn(run.precision, device)
  return measured(device, async () => {
    const init = new Random(1)
    const vae = new Tokenizer(tokenizer, { init, device })
    vae.setTrainable(false)
    const base = new StarTransformer(config, { init, device, int8: run.baseDtype === 'int8' }).setTrainable(false)
    if (precision !== 'f32') for (const single of base.toHalf(precision).values()) single.dispose()
    const shapes = new Map(layersOf(base, targets).map((name) => [name, { rank, scale: alpha / rank }]))
    const model = new LoraAdapters(base, shapes, { init, device })
    const task: Task<Batch, number> = {
      ...unsaved,
      model,
      next: async (count) => batchOf(count),
      split: (batch, count) => Array.from({ length: count }, () => batch.ids.length / count),
      forwardBackward(own, _step, backward): Figures {
        const count = prior ? 2 * own : own
        const maps = config.patchNums.map((p) => Tensor.from(new Int32Array(count * p * p), [count, p * p], { device }))
        const targets = Tensor.from(new Int32Array(count * base.length), [count, base.length], { device })
        const input = vae.quantizer.transformerInput(maps) // (B, L − p₁², Z)
        const text = textOf(count, config.textWidth, device)
        onPart?.('data')
        const logits = base.forward({ input, text, recompute, independent: true }) // (B, L, V)
        const lossOf = (begin: number, end: number) =>
          tokenObjective(slice(logits, 0, begin, end), slice(targets, 0, begin, end), base.levels)
        const { loss, sums } = prior ? lossOf(0, own) : tokenObjective(logits, targets, base.levels)
        const both = prior ? add(loss, lossOf(own, count).loss) : loss
        onPart?.('forward')
        backward(both)
        onPart?.('backward')
        return figuresOf(both, sums)
      },
      dispose() {
        model.dispose()
        base.dispose()
        vae.dispose()
      },
    }
    await step(task as Task, optimizer, precision, options)
  })
}
