import CLosses
import LossCore

// The structs that may grow. One that has says here what it was before:
//     extension segloss_dice_options: Versioned { package static let earlierSizes = [24] }

extension segloss_execution: Versioned {}
extension segloss_mask_dice_options: Versioned {}
extension segloss_mask_dice_parts: Versioned {}
extension segloss_mask_l1_options: Versioned {}
extension segloss_mask_l1_parts: Versioned {}
extension segloss_balance_options: Versioned {}
extension segloss_balance_parts: Versioned {}
extension segloss_db_options: Versioned {}
extension segloss_db_parts: Versioned {}
extension segloss_l1_balance_ce_options: Versioned {}
extension segloss_l1_balance_ce_parts: Versioned {}
extension segloss_db_step_options: Versioned {}
extension segloss_classes: Versioned {}
extension segloss_overlap_parts: Versioned {}
extension segloss_mean_parts: Versioned {}
extension segloss_dice_options: Versioned {}
extension segloss_dice_bce_options: Versioned {}
extension segloss_dice_bce_parts: Versioned {}
extension segloss_iou_options: Versioned {}
extension segloss_tversky_options: Versioned {}
extension segloss_focal_tversky_options: Versioned {}
extension segloss_bce_options: Versioned {}
extension segloss_focal_options: Versioned {}
extension segloss_focal_parts: Versioned {}
extension segloss_smooth_l1_options: Versioned {}
extension segloss_cross_entropy_options: Versioned {}
extension segloss_cross_entropy_parts: Versioned {}
extension segloss_ctpn_options: Versioned {}
extension segloss_ctpn_parts: Versioned {}
extension segloss_ctpn_anchor_targets_options: Versioned {}
extension segloss_structure_options: Versioned {}
extension segloss_structure_parts: Versioned {}
extension segloss_active_contour_options: Versioned {}
extension segloss_active_contour_parts: Versioned {}
extension segloss_boundary_options: Versioned {}
extension segloss_boundary_parts: Versioned {}
extension segloss_program_call: Versioned {}
