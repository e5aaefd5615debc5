import KernelTable

/// Tversky index: Dice with a price for each kind of error.
///
///     L = 1 − (TP + s)/(TP + α·FP + β·FN + s) = (α·FP + β·FN)/(TP + α·FP + β·FN + s),  s = smooth
///
/// α = β = ½ is Dice (of smooth 2s), α = β = 1 IoU. Source: Salehi et al. 2017 (arXiv 1706.05721), equation 3; the
/// convention is the "loss function library" one: sigmoid, everything flattened, smooth 1 above and below.
public struct Tversky: OverlapFormula {
    /// The price of a false positive, and of a false negative.
    public var alpha, beta: Double
    public var smooth: Double

    public init(alpha: Double, beta: Double, smooth: Double) throws(LossError) {
        try requireFinite("alpha", alpha)
        try requireFinite("beta", beta)
        try requireFinite("smooth", smooth)
        (self.alpha, self.beta, self.smooth) = (alpha, beta, smooth)
    }

    public func score(tp: Double, fp: Double, fn: Double) -> Score {
        let wrong = alpha * fp + beta * fn
        return .ratio(wrong, [0, alpha, beta], over: tp + wrong + smooth, [1, alpha, beta])
    }
}
