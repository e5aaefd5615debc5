import KernelTable

/// Dice plus binary cross-entropy, 1 : 1, from one read.
///
///     L = (FP + FN)/(2·TP + FP + FN + s) + Σ ℓ·m / Σ m
///
/// From logits ℓ is the logits form, which neither caps at 100 nor loses its gradient where the sigmoid rounds to 1.
/// Source: the "loss function library" convention (sigmoid, everything flattened, smooth 1); Isensee et al. 2021
/// (nnU-Net) for the sum of both.
public struct DiceBCE: OverlapFormula {
    public var dice: Dice

    public init(smooth: Double) throws(LossError) { dice = try Dice(smooth: smooth) }

    public var addsCrossEntropy: Bool { true }

    public func score(tp: Double, fp: Double, fn: Double) -> Score { dice.score(tp: tp, fp: fp, fn: fn) }
}
