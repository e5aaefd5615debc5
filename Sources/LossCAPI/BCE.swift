import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ weight: UnsafePointer<segloss_tensor>?, _ mask: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_bce_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> PointwiseLoss<BCE> {
    let o = try options("options", pointer, segloss_bce_options_default())
    guard let form = BCE.Form(rawValue: o.form) else {
        throw LossError(.option, "form: expected 0 to 2, got \(o.form)")
    }
    return try PointwiseLoss(
        BCE(form, positiveWeights: numbers("pos_weight", o.pos_weight, o.pos_weight_length)),
        pred: tensor("input", input), target: tensor("target", target), weight: optionalTensor("weight", weight),
        mask: optionalTensor("mask", mask),
        classes(o.classes), execution(run))
}

@_cdecl("segloss_bce") @implementation
public func segloss_bce(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_bce_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_mean_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, weight, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write
        )
    }
}

@_cdecl("segloss_bce_statistics") @implementation
public func segloss_bce_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_bce_options>!, _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, weight, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_bce_finish") @implementation
public func segloss_bce_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_bce_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_mean_parts>!,
    _ grad_input: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, weight, mask, options, execution), statistics, length, parts, grad_output,
            ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_bce_items") @implementation
public func segloss_bce_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_bce_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(input, target, weight, mask, options, execution), grad_output, values, ("grad_input", grad_input))
    }
}

extension Entry {
    static let bce = Entry("bce", gradients: ["grad_input"], constants: 3) { (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], t[3], o.bound(), e), write)
    }
}
