import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ weight: UnsafePointer<segloss_tensor>?, _ mask: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_smooth_l1_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> PointwiseLoss<SmoothL1> {
    let o = try options("options", pointer, segloss_smooth_l1_options_default())
    return try PointwiseLoss(
        SmoothL1(beta: o.beta), pred: tensor("input", input), target: tensor("target", target),
        weight: optionalTensor("weight", weight), mask: optionalTensor("mask", mask),
        plain(o.reduction), allowsLabels: false, execution(run))
}

@_cdecl("segloss_smooth_l1") @implementation
public func segloss_smooth_l1(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_smooth_l1_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_mean_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, weight, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write
        )
    }
}

@_cdecl("segloss_smooth_l1_statistics") @implementation
public func segloss_smooth_l1_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_smooth_l1_options>!, _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, weight, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_smooth_l1_finish") @implementation
public func segloss_smooth_l1_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_smooth_l1_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
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

@_cdecl("segloss_smooth_l1_items") @implementation
public func segloss_smooth_l1_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ weight: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_smooth_l1_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(input, target, weight, mask, options, execution), grad_output, values, ("grad_input", grad_input))
    }
}

extension Entry {
    static let smoothL1 = Entry("smooth_l1", gradients: ["grad_input"], constants: 3) {
        (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], t[3], o.bound(), e), write)
    }
}
