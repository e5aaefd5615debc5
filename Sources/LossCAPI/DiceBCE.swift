import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ pointer: UnsafePointer<segloss_dice_bce_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> OverlapLoss<DiceBCE> {
    let o = try options("options", pointer, segloss_dice_bce_options_default())
    try requireUnused(o.reserved)
    return try OverlapLoss(
        DiceBCE(smooth: o.smooth), pred: tensor("input", input), target: tensor("target", target),
        mask: optionalTensor("mask", mask),
        classes(o.classes), execution(run))
}

private func write(_ parts: OverlapLoss<DiceBCE>.Parts, to out: UnsafeMutablePointer<segloss_dice_bce_parts>?) {
    write(
        segloss_dice_bce_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, bce_loss: parts.crossEntropy, dice_loss: parts.overlap,
            count: parts.count, elements: parts.elements),
        to: out)
}

@_cdecl("segloss_dice_bce") @implementation
public func segloss_dice_bce(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_dice_bce_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_dice_bce_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, mask, options, execution), parts, grad_output, ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_dice_bce_statistics") @implementation
public func segloss_dice_bce_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_dice_bce_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_dice_bce_finish") @implementation
public func segloss_dice_bce_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_dice_bce_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_dice_bce_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, mask, options, execution), statistics, length, parts, grad_output,
            ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_dice_bce_items") @implementation
public func segloss_dice_bce_items(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_dice_bce_options>!,
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
    static let diceBCE = Entry("dice_bce", gradients: ["grad_input"], constants: 2) {
        (t, o, e, run) throws(LossError) in
        try run(itemsOf: loss(t[0], t[1], t[2], o.bound(), e), write)
    }
}
