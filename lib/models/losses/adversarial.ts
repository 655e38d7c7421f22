/** The two sides of an adversarial loss on logits of a discriminator. */
import { z } from 'zod'
import { abs, add, affine, exp, log, mean, mul, relu, scope, type Tensor } from '../../tensor/index.js'

export const adversarialSchema = z
  .strictObject({
    weight: z
      .number()
      .min(0)
      .default(0.1)
      .describe(
        'weight of the adversarial term; with `adaptive`, the length of its gradient over that of the other terms’',
      ),
    adaptive: z
      .boolean()
      .default(true)
      .describe('scale the term at every step so that its gradient in the reconstruction has that length'),
    loss: z
      .enum(['hinge', 'non-saturating'])
      .default('hinge')
      .describe('hinge (Lim and Ye 2017) or non-saturating (Goodfellow et al. 2014)'),
    start: z.int().min(0).default(0).describe('step from which on the discriminator is trained and used'),
    warmupSteps: z.int().min(0).default(500).describe('steps after `start` over which the weight rises from 0'),
    channels: z
      .int()
      .multipleOf(8)
      .min(8)
      .default(32)
      .describe('channels of the discriminator’s first layer; the next ones have 2 and 4 times as many'),
    layers: z.int().min(1).max(6).default(3).describe('convolutions of the discriminator that halve the image'),
    learningRate: z
      .number()
      .positive()
      .default(0.0002)
      .describe('peak learning rate of the discriminator, on the schedule of the optimizer'),
    betas: z
      .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
      .default([0.5, 0.9])
      .describe('decay of the averages of the discriminator’s AdamW'),
    augment: z
      .array(z.enum(['colour', 'translation', 'cutout']))
      .default(['colour', 'translation', 'cutout'])
      .describe(
        'what is done at random to pictures before the discriminator sees them (DiffAugment, Zhao et al. 2020)',
      ),
  })
  .describe('a discriminator is trained beside the tokenizer, which learns to deceive it')

export type AdversarialConfig = z.output<typeof adversarialSchema>
export type AdversarialLoss = AdversarialConfig['loss']

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
