/** One process of `npm run bench:dist`: a transformer's steps with the exchange of its gradients, in four ways. */
import { GradientExchange, ProcessGroup } from '../lib/distributed/index.js'
import { type StarConfigInput, StarTransformer, starConfig, tokenCount, tokenLoss } from '../lib/models/star/index.js'
import { backward, keep, scope, Tensor } from '../lib/tensor/index.js'
import type { RankFunction } from '../test/support/ranks.js'
import type { Round } from './overlap.js'
import { fillModule, signedTensor, uniform } from './rule.js'

export interface DistInput {
  model: StarConfigInput
  rounds: number
}

const textTokens = 77

/** Rounds of one picture a process; the first two are not among them. */
export const measure: RankFunction<DistInput, Round[]> = async (env, { model, rounds }) => {
  const config = starConfig(model)
  const { vocabSize, latentChannels, textWidth } = config
  const group = await ProcessGroup.connect(env)
  const star = new StarTransformer(config)
  fillModule(star)
  const length = tokenCount(config.patchNums)
  const input = keep(signedTensor('input', [1, length - 1, latentChannels])) // (1, L − 1, Cvae)
  const text = {
    states: keep(signedTensor('text', [1, textTokens, textWidth])),
    pooled: keep(signedTensor('pooled', [1, textWidth])),
    mask: Tensor.from(new Uint8Array(textTokens).fill(1), [1, textTokens]),
  }
  const picture = Int32Array.from(uniform('targets', length), (u) => Math.floor(u * vocabSize))
  const targets = Tensor.from(picture, [1, length])
  const exchange = new GradientExchange(star.parametersByUse(), { group })

  /** Milliseconds of what `work` does, begun by all processes at once. */
  const time = (work: () => void): number => {
    group.barrier().wait()
    const begin = performance.now()
    work()
    return performance.now() - begin
  }
  const step = (onReady?: (leaf: Tensor) => void, begun?: () => void): void =>
    scope(() => {
      const loss = tokenLoss(star.forward({ input, text }), targets)
      begun?.()
      backward(loss, undefined, onReady)
    })
  const exchanged = (): void => {
    exchange.begin()
    exchange.finish()
  }

  const round = (): Round => {
    const computeMs = time(step)
    // The gradients of that step, all of them ready.
    const exchangeMs = time(exchanged)
    star.zeroGrad()
    const afterMs = time(() => {
      step()
      exchanged()
    })
    star.zeroGrad()
    let backwardMs = 0
    const overlappedMs = time(() => {
      let begun = 0
      step(exchange.ready, () => {
        exchange.begin()
        begun = performance.now()
      })
      backwardMs = performance.now() - begun
      exchange.finish()
    })
    star.zeroGrad()
    return { computeMs, exchangeMs, afterMs, overlappedMs, backwardMs, buckets: exchange.trace.map((b) => ({ ...b })) }
  }
  const results: Round[] = []
  for (let r = -2; r < rounds; r++) {
    const result = round()
    if (r >= 0) results.push(result)
  }
  exchange.dispose()
  group.close()
  return results
}
