import KernelTable

/// Dice on logits, probabilities or classes.
///
///     L = 1 − (2·TP + s)/(2·TP + FP + FN + s) = (FP + FN)/(2·TP + FP + FN + s),  s = smooth
///
/// The second form keeps its digits where prediction and target nearly agree. Smooth stands above and below, so that an
/// empty target with an empty prediction gives 0, and an empty target still pushes the prediction down: dL/dp = s/D².
/// Source: Milletari et al. 2016 (V-Net, arXiv 1606.04797), equation 3, with linear denominators; the convention is the
/// "loss function library" one: sigmoid, everything flattened, smooth 1.
public struct Dice: OverlapFormula {
    public var smooth: Double

    public init(smooth: Double) throws(LossError) {
        try requireFinite("smooth", smooth)
        self.smooth = smooth
    }

    public func score(tp: Double, fp: Double, fn: Double) -> Score {
        .ratio(fp + fn, [0, 1, 1], over: 2 * tp + fp + fn + smooth, [2, 1, 1])
    }
}
