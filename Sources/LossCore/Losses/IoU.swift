import KernelTable

/// Intersection over union (Jaccard).
///
///     L = 1 − (TP + s)/(TP + FP + FN + s) = (FP + FN)/(TP + FP + FN + s),  s = smooth
///
/// Source: Rahman and Wang 2016 (ISVC), section 3.1; the convention is the "loss function library" one: sigmoid, everything
/// flattened, smooth 1 above and below.
public struct IoU: OverlapFormula {
    public var smooth: Double

    public init(smooth: Double) throws(LossError) {
        try requireFinite("smooth", smooth)
        self.smooth = smooth
    }

    public func score(tp: Double, fp: Double, fn: Double) -> Score {
        .ratio(fp + fn, [0, 1, 1], over: tp + fp + fn + smooth, [1, 1, 1])
    }
}
