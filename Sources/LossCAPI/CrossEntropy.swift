import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ weight: UnsafePointer<segloss_tensor>?, _ mask: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_cross_entropy_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> CrossEntropyLoss {
    let o = try options("options", pointer, segloss_cross_entropy_options_default())
    try requireUnused(o.reserved)
    return try CrossEntropyLoss(
        CrossEntropyLoss.Options(
            smoothing: o.label_smoothing, reduction: reduction(o.reduction),
            ignored: flag("has_ignore_index", o.has_ignore_index) ? Int(o.ignore_index) : nil,
            weights: optionalNumbers("class_weight", o.class_weight, o.class_weight_length)),
        pred: tensor("input", input), target: tensor("target", target), weight: optionalTensor("weight", weight),
        mask: optionalTensor("mask", mask), execution(run))
}

private func write(_ parts: CrossEntropyLoss.Parts, to out: UnsafeMutablePointer<segloss_cross_entropy_parts>?) {
    write(
        segloss_cross_entropy_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, count: parts.count, divisor: parts.divisor),
        to: out)
}

@_cdecl("segloss_cross_entropy") @implementation
public func segloss_cross_entropy(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_cross_entropy_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_cross_entropy_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, weight, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write
        )
    }
}

@_cdecl("segloss_cross_entropy_statistics") @implementation
public func segloss_cross_entropy_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_cross_entropy_options>!, _ statistics: UnsafeMutablePointer<Double>!,
    _ length: Int64, _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, weight, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_cross_entropy_finish") @implementation
public func segloss_cross_entropy_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_cross_entropy_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_cross_entropy_parts>!,
    _ grad_input: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, weight, mask, options, execution), statistics, length, parts, grad_output,
            ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_cross_entropy_items") @implementation
public func segloss_cross_entropy_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_cross_entropy_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(input, target, weight, mask, options, execution), grad_output, values, ("grad_input", grad_input))
    }
}

extension Entry {
    static let crossEntropy = Entry("cross_entropy", gradients: ["grad_input"], constants: 3) {
        (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], t[3], o.bound(), e), write)
    }
}
