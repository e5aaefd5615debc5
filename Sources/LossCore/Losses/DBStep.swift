import KernelTable

/// The approximate step function of Differentiable Binarization.
///
///     B = σ(k·(P − T))    dB/dP = k·B·(1 − B) = −dB/dT
///
/// 1 − B comes from the sigmoid itself, not from B, so that the gradient keeps its digits where B rounds to 0 or 1.
/// Source: Liao et al. 2020 (arXiv 1911.08947), equation 2, k = 50.
public struct DBStep {
    let prob, thresh: Tensor
    let k: Double
    let execution: Execution

    public init(prob: Tensor, thresh: Tensor, k: Double, _ execution: Execution) throws(LossError) {
        try prob.requireFloating()
        try thresh.requireShape(of: prob)
        try thresh.requireType(of: prob)
        try requireFinite("k", k)
        (self.prob, self.thresh, self.k, self.execution) = (prob, thresh, k, execution)
    }

    /// What `value` and `backward` refuse, and, where both are to be run, outputs that share memory.
    public func check(
        out: Tensor?, gradOutput: Tensor?, gradProb: Tensor?, gradThresh: Tensor?
    ) throws(LossError) {
        try out?.requireMap(like: prob, apartFrom: [prob, thresh])
        guard let gradOutput else { return }
        try gradOutput.requireFloating()
        try gradOutput.requireShape(of: prob)
        for gradient in [gradProb, gradThresh] {
            try gradient?.requireMap(like: prob, apartFrom: [prob, thresh, gradOutput])
            if let gradient { try out?.requireNoOverlap(with: gradient) }
        }
        if let gradProb, let gradThresh { try gradThresh.requireNoOverlap(with: gradProb) }
    }

    public func value(to out: Tensor) throws(LossError) {
        try check(out: out, gradOutput: nil, gradProb: nil, gradThresh: nil)
        let sweep = Sweep(
            execution, inputs: [Operand(prob), Operand(thresh)], outputs: [out], like: prob, temporaries: 1,
            checksValues: true)
        try sweep.run { b in
            let u = b.temporary(0)
            b.kernels.scaled_difference(b.input(0), b.input(1), k, u, b.padded)
            b.kernels.sigmoid(u, b.output(0), b.padded)
        }
    }

    /// The gradients of Σ gradOutput·B.
    public func backward(gradOutput: Tensor, gradProb: Tensor?, gradThresh: Tensor?) throws(LossError) {
        try check(out: nil, gradOutput: gradOutput, gradProb: gradProb, gradThresh: gradThresh)
        let sweep = Sweep(
            execution, inputs: [Operand(prob), Operand(thresh), Operand(gradOutput)],
            outputs: [gradProb, gradThresh], like: prob, temporaries: 1, checksValues: true)
        try sweep.run { b in
            let u = b.temporary(0)
            b.kernels.scaled_difference(b.input(0), b.input(1), k, u, b.padded)
            b.kernels.sigmoid_gradient(u, b.input(2), k, b.output(0), b.padded)
            b.kernels.scale(b.output(0), -1, b.output(1), b.padded)
        }
    }
}
