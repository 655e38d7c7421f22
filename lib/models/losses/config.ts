/** Configurations of the losses that a tokenizer may be trained with besides errors of pixels. */
import { z } from 'zod'

export const perceptualSchema = z
  .strictObject({
    weight: z.number().min(0).default(1).describe('weight of the features’ distance'),
    logits: z
      .number()
      .min(0)
      .default(0)
      .describe('weight of the mean squared difference of the classifier’s logits (arXiv 2409.16211)'),
    backbone: z
      .string()
      .min(1)
      .default('efficientnet-lite0')
      .describe('efficientnet-lite0, which `star data backbone` fetches, or the path of its published state dict'),
  })
  .describe('distance of a classifier’s features between image and reconstruction')

export type PerceptualConfig = z.output<typeof perceptualSchema>

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
export type Augmentation = AdversarialConfig['augment'][number]
