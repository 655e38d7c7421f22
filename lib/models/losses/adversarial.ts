/** The two sides of an adversarial loss on logits of a discriminator. */
import { abs, add, affine, exp, log, mean, mul, relu, scope, type Tensor } from '../../tensor/index.js'
import type { AdversarialLoss } from './config.js'

/** log(1 + e^x) = max(x, 0) + log(1 + e^−|x|), which overflows nowhere. */
const softplus = (x: Tensor): Tensor => add(relu(x), log(add(exp(mul(abs(x), -1)), 1)))

/**
 * What the discriminator minimises: mean max(0, 1 − real) + mean max(0, 1 + fake), or mean softplus(−real) + mean softplus(fake),
 * half of it. Logits of any shape; shape [].
 */
export function discriminatorLoss(real: Tensor, fake: Tensor, loss: AdversarialLoss): Tensor {
  return scope(() => {
    const [onReal, onFake] =
      loss === 'hinge'
        ? [relu(affine(real, null, -1, 0, 1)), relu(add(fake, 1))]
        : [softplus(mul(real, -1)), softplus(fake)]
    return mul(add(mean(onReal), mean(onFake)), 0.5)
  })
}

/** What the generator minimises: −mean fake, or mean softplus(−fake). Shape []. */
export function generatorLoss(fake: Tensor, loss: AdversarialLoss): Tensor {
  return scope(() => (loss === 'hinge' ? mul(mean(fake), -1) : mean(softplus(mul(fake, -1)))))
}
