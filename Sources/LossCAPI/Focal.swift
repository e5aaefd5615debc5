import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ weight: UnsafePointer<segloss_tensor>?, _ mask: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_focal_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> PointwiseLoss<Focal> {
    let o = try options("options", pointer, segloss_focal_options_default())
    try requireUnused(o.reserved)
    guard let variant = Focal.Variant(rawValue: o.variant) else {
        throw LossError(.option, "variant: expected 0 or 1, got \(o.variant)")
    }
    return try PointwiseLoss(
        Focal(variant, alpha: o.alpha, gamma: o.gamma, fromLogits: flag("from_logits", o.from_logits)),
        pred: tensor("input", input), target: tensor("target", target), weight: optionalTensor("weight", weight),
        mask: optionalTensor("mask", mask),
        classes(o.classes), execution(run))
}

private func write(_ parts: PointwiseLoss<Focal>.Parts, to out: UnsafeMutablePointer<segloss_focal_parts>?) {
    write(
        segloss_focal_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, bce_loss: parts.mean, count: parts.count),
        to: out)
}

@_cdecl("segloss_focal") @implementation
public func segloss_focal(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_focal_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_focal_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, weight, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write
        )
    }
}

@_cdecl("segloss_focal_statistics") @implementation
public func segloss_focal_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_focal_options>!, _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, weight, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_focal_finish") @implementation
public func segloss_focal_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_focal_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_focal_parts>!,
    _ grad_input: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, weight, mask, options, execution), statistics, length, parts, grad_output,
            ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_focal_items") @implementation
public func segloss_focal_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_focal_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(input, target, weight, mask, options, execution), grad_output, values, ("grad_input", grad_input))
    }
}

extension Entry {
    static let focal = Entry("focal", gradients: ["grad_input"], constants: 3) { (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], t[3], o.bound(), e), write)
    }
}
