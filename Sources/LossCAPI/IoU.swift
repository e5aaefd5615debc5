import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ pointer: UnsafePointer<segloss_iou_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> OverlapLoss<IoU> {
    let o = try options("options", pointer, segloss_iou_options_default())
    try requireUnused(o.reserved)
    return try OverlapLoss(
        IoU(smooth: o.smooth), pred: tensor("input", input), target: tensor("target", target),
        mask: optionalTensor("mask", mask),
        classes(o.classes), execution(run))
}

@_cdecl("segloss_iou") @implementation
public func segloss_iou(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_iou_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_overlap_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_iou_statistics") @implementation
public func segloss_iou_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_iou_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_iou_finish") @implementation
public func segloss_iou_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_iou_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_overlap_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, mask, options, execution), statistics, length, parts, grad_output,
            ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_iou_items") @implementation
public func segloss_iou_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_iou_options>!,
    _ grad_output: UnsafePointer<segloss_tensor>!, _ values: UnsafePointer<segloss_tensor>!,
    _ grad_input: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss(input, target, mask, options, execution), grad_output, values, ("grad_input", grad_input))
    }
}

extension Entry {
    static let iou = Entry("iou", gradients: ["grad_input"], constants: 2) { (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], o.bound(), e), write)
    }
}
