import CLosses
import LossCore

private func loss(
    _ pred: UnsafePointer<segloss_tensor>?, _ gt: UnsafePointer<segloss_tensor>?,
    _ mask: UnsafePointer<segloss_tensor>?, _ pointer: UnsafePointer<segloss_mask_l1_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> MaskL1Loss {
    let o = try options("options", pointer, segloss_mask_l1_options_default())
    try requireUnused(o.reserved)
    return try MaskL1Loss(
        MaskL1(eps: o.eps), pred: tensor("pred", pred), gt: tensor("gt", gt), mask: tensor("mask", mask),
        execution(run))
}

private func write(_ parts: MaskL1.Parts, to out: UnsafeMutablePointer<segloss_mask_l1_parts>?) {
    write(segloss_mask_l1_parts(struct_size: 0, reserved: 0, loss: parts.loss, count: parts.count), to: out)
}

@_cdecl("segloss_mask_l1") @implementation
public func segloss_mask_l1(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_mask_l1_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_mask_l1_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(pred, gt, mask, options, execution), parts, grad_output, ("grad_pred", grad_pred), write)
    }
}

@_cdecl("segloss_mask_l1_statistics") @implementation
public func segloss_mask_l1_statistics(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_mask_l1_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(pred, gt, mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_mask_l1_finish") @implementation
public func segloss_mask_l1_finish(
    _ pred: UnsafePointer<segloss_tensor>!, _ gt: UnsafePointer<segloss_tensor>!,
    _ mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_mask_l1_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_mask_l1_parts>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(pred, gt, mask, options, execution), statistics, length, parts, grad_output, ("grad_pred", grad_pred),
            write)
    }
}

extension Entry {
    static let maskL1 = Entry("mask_l1", gradients: ["grad_pred"], constants: 2) { (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], o.bound(), e), write)
    }
}
