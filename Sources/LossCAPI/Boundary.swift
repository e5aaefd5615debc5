import CLosses
import LossCore

private func loss(
    _ pred: UnsafePointer<segloss_tensor>?, _ labels: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_boundary_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> BoundaryLoss {
    let o = try options("options", pointer, segloss_boundary_options_default())
    guard let variant = Boundary.Variant(rawValue: o.variant) else {
        throw LossError(.option, "variant: expected 0 or 1, got \(o.variant)")
    }
    let hasIgnored = try flag("has_ignore_index", o.has_ignore_index)
    return try BoundaryLoss(
        Boundary(
            variant: variant, theta0: Int(o.theta0), theta: Int(o.theta),
            fromProbabilities: flag("from_probs", o.from_probs), ignored: hasIgnored ? Int(o.ignore_index) : nil),
        pred: tensor("pred", pred), labels: tensor("labels", labels), execution(run))
}

private func write(_ parts: BoundaryLoss.Parts, to out: UnsafeMutablePointer<segloss_boundary_parts>?) {
    write(segloss_boundary_parts(struct_size: 0, reserved: 0, loss: parts.loss, count: parts.count), to: out)
}

@_cdecl("segloss_boundary") @implementation
public func segloss_boundary(
    _ pred: UnsafePointer<segloss_tensor>!, _ labels: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_boundary_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_boundary_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(pred, labels, options, execution), parts, grad_output, ("grad_pred", grad_pred), write)
    }
}

@_cdecl("segloss_boundary_statistics") @implementation
public func segloss_boundary_statistics(
    _ pred: UnsafePointer<segloss_tensor>!, _ labels: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_boundary_options>!, _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(pred, labels, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_boundary_finish") @implementation
public func segloss_boundary_finish(
    _ pred: UnsafePointer<segloss_tensor>!, _ labels: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_boundary_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_boundary_parts>!,
    _ grad_pred: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(pred, labels, options, execution), statistics, length, parts, grad_output, ("grad_pred", grad_pred),
            write)
    }
}

@_cdecl("segloss_boundary_items") @implementation
public func segloss_boundary_items(
    _ pred: UnsafePointer<segloss_tensor>!, _ labels: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_boundary_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(pred, labels, options, execution), grad_output, values, ("grad_pred", grad_pred))
    }
}

extension Entry {
    static let boundary = Entry("boundary", gradients: ["grad_pred"], constants: 1) {
        (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], o.bound(), e), write)
    }
}
