import CLosses
import LossCore

func ctpnVariant(_ value: Int32) throws(LossError) -> CTPN.Variant {
    guard let variant = CTPN.Variant(rawValue: value) else {
        throw LossError(.option, "variant: expected 0 or 1, got \(value)")
    }
    return variant
}

private func loss(
    _ cls: UnsafePointer<segloss_tensor>?, _ box: UnsafePointer<segloss_tensor>?,
    _ side: UnsafePointer<segloss_tensor>?, _ rpn_labels: UnsafePointer<segloss_tensor>?,
    _ rpn_bbox_targets: UnsafePointer<segloss_tensor>?, _ rpn_bbox_inside_weights: UnsafePointer<segloss_tensor>?,
    _ rpn_bbox_outside_weights: UnsafePointer<segloss_tensor>?, _ side_targets: UnsafePointer<segloss_tensor>?,
    _ side_mask: UnsafePointer<segloss_tensor>?, _ options: UnsafePointer<segloss_ctpn_options>?,
    _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> CTPNLoss {
    let o = try LossCore.options("options", options, segloss_ctpn_options_default(Int32(SEGLOSS_CTPN_PUBLISHED)))
    let variant = try ctpnVariant(o.variant)
    let hasSide = side != nil || side_targets != nil || side_mask != nil
    return try CTPNLoss(
        CTPN(variant: variant, sigma2: o.sigma2, lambda1: o.lambda1, lambda2: o.lambda2),
        cls: tensor("cls", cls), box: tensor("box", box), labels: tensor("rpn_labels", rpn_labels),
        targets: tensor("rpn_bbox_targets", rpn_bbox_targets),
        inside: tensor("rpn_bbox_inside_weights", rpn_bbox_inside_weights),
        outside: tensor("rpn_bbox_outside_weights", rpn_bbox_outside_weights),
        side: hasSide
            ? CTPNLoss.Side(
                pred: tensor("side", side), targets: tensor("side_targets", side_targets),
                mask: tensor("side_mask", side_mask))
            : nil,
        run == nil && variant == .paper ? Execution(nonFinite: .skipMasked) : execution(run))
}

private func write(_ parts: CTPN.Parts, to out: UnsafeMutablePointer<segloss_ctpn_parts>?) {
    write(
        segloss_ctpn_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, model_loss: parts.modelLoss,
            rpn_cross_entropy: parts.classes, rpn_loss_box: parts.box, rpn_loss_side: parts.side, kept: parts.kept,
            positives: parts.positives, sides: parts.sides), to: out)
}

@_cdecl("segloss_ctpn") @implementation
public func segloss_ctpn(
    _ cls: UnsafePointer<segloss_tensor>!, _ box: UnsafePointer<segloss_tensor>!,
    _ side: UnsafePointer<segloss_tensor>!, _ rpn_labels: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_targets: UnsafePointer<segloss_tensor>!, _ rpn_bbox_inside_weights: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_outside_weights: UnsafePointer<segloss_tensor>!, _ side_targets: UnsafePointer<segloss_tensor>!,
    _ side_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_ctpn_options>!,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_ctpn_parts>!,
    _ grad_cls: UnsafePointer<segloss_tensor>!, _ grad_box: UnsafePointer<segloss_tensor>!,
    _ grad_side: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        let loss = try loss(
            cls, box, side, rpn_labels, rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights,
            side_targets, side_mask, options, execution)
        write(
            try loss(
                gradOutput: grad_output,
                gradients: gradients(("grad_cls", grad_cls), ("grad_box", grad_box), ("grad_side", grad_side))),
            to: parts)
    }
}

@_cdecl("segloss_ctpn_statistics") @implementation
public func segloss_ctpn_statistics(
    _ cls: UnsafePointer<segloss_tensor>!, _ box: UnsafePointer<segloss_tensor>!,
    _ side: UnsafePointer<segloss_tensor>!, _ rpn_labels: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_targets: UnsafePointer<segloss_tensor>!, _ rpn_bbox_inside_weights: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_outside_weights: UnsafePointer<segloss_tensor>!, _ side_targets: UnsafePointer<segloss_tensor>!,
    _ side_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_ctpn_options>!,
    _ statistics: UnsafeMutablePointer<Double>!, _ length: Int64, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(
            loss(
                cls, box, side, rpn_labels, rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights,
                side_targets, side_mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_ctpn_finish") @implementation
public func segloss_ctpn_finish(
    _ cls: UnsafePointer<segloss_tensor>!, _ box: UnsafePointer<segloss_tensor>!,
    _ side: UnsafePointer<segloss_tensor>!, _ rpn_labels: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_targets: UnsafePointer<segloss_tensor>!, _ rpn_bbox_inside_weights: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_outside_weights: UnsafePointer<segloss_tensor>!, _ side_targets: UnsafePointer<segloss_tensor>!,
    _ side_mask: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_ctpn_options>!,
    _ statistics: UnsafePointer<Double>!, _ length: Int64, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_ctpn_parts>!, _ grad_cls: UnsafePointer<segloss_tensor>!,
    _ grad_box: UnsafePointer<segloss_tensor>!, _ grad_side: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        write(
            try finish(
                loss(
                    cls, box, side, rpn_labels, rpn_bbox_targets, rpn_bbox_inside_weights, rpn_bbox_outside_weights,
                    side_targets, side_mask, options, execution), statistics, length, grad_output,
                gradients(("grad_cls", grad_cls), ("grad_box", grad_box), ("grad_side", grad_side))), to: parts)
    }
}

extension Entry {
    static let ctpn = Entry("ctpn", gradients: ["grad_cls", "grad_box", "grad_side"], constants: 6) {
        (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], o.bound(), e), write)
    }
}
