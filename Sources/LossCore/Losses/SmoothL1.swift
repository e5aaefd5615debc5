import KernelTable

/// Smooth L1 (Huber over β).
///
///     d = x − y    ℓ = d²/(2β) if |d| < β, else |d| − β/2    dℓ/dx = d/β, else sgn d
///
/// The comparison is strict: |d| = β is linear. β = 0 is L1. CTPN's form with σ² is β = 1/σ².
/// Source: Girshick 2015 (Fast R-CNN, arXiv 1504.08083), equation 3; `SmoothL1Loss` of PyTorch (β 1).
public struct SmoothL1: PointwiseTerm {
    public var beta: Double

    public init(beta: Double) throws(LossError) {
        try requireFinite("beta", beta)
        guard beta >= 0 else { throw LossError(.option, "beta: expected at least 0, got \(beta)") }
        self.beta = beta
    }

    public func value(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, of c: Int, to out: UnsafeMutableRawPointer
    ) {
        b.kernels.smooth_l1(x, y, nil, beta, out, b.padded)
    }

    public func gradient(
        _ b: Block, _ x: UnsafeRawPointer, _ y: UnsafeRawPointer, _ w: UnsafeRawPointer?, of c: Int,
        times factor: Double,
        scratch: UnsafeMutableRawPointer, to out: UnsafeMutableRawPointer
    ) {
        b.kernels.smooth_l1_gradient(x, y, nil, w, beta, factor, out, b.padded)
    }
}
