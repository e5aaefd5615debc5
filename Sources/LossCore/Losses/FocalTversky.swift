import KernelTable

/// The Tversky loss to a power.
///
///     L = T^γ    dL = γ·T^(γ−1)·dT,   T the Tversky loss
///
/// Where T is exactly 0 and γ < 1 the derivative is infinite: the gradient there is 0, a minimum. Source: Abraham and Khan
/// 2019 (arXiv 1810.07842), equation 4 (whose exponent is 1/γ); the convention is the "loss function library" one, which
/// takes γ itself, 1 by default.
public struct FocalTversky: OverlapFormula {
    public var tversky: Tversky
    public var gamma: Double

    public init(alpha: Double, beta: Double, gamma: Double, smooth: Double) throws(LossError) {
        tversky = try Tversky(alpha: alpha, beta: beta, smooth: smooth)
        try requireFinite("gamma", gamma)
        guard gamma >= 0 else { throw LossError(.option, "gamma: expected at least 0, got \(gamma)") }
        self.gamma = gamma
    }

    public func score(tp: Double, fp: Double, fn: Double) -> Score {
        let t = tversky.score(tp: tp, fp: fp, fn: fn)
        let slope = t.loss == 0 && gamma < 1 ? 0 : gamma * power(t.loss, gamma - 1)
        return Score(loss: power(t.loss, gamma), tp: slope * t.tp, fp: slope * t.fp, fn: slope * t.fn)
    }
}
