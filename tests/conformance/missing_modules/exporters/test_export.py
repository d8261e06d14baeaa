"""Export with dynamic shapes, traced at one shape and run at another. It replaces transformers' larger module."""

import torch
from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter


class ExportTesterMixin:
    def test_export_with_dynamic_shapes(self) -> None:
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()  # pyright: ignore[reportAttributeAccessIssue]
        model = self.all_model_classes[0](config).eval()  # pyright: ignore[reportAttributeAccessIssue]
        shorter = {name: value[:3, :5].contiguous() for name, value in inputs.items()}
        exported = DynamoExporter().export(model, shorter, config=DynamoConfig(dynamic=True))
        with torch.no_grad():
            wanted = model(**inputs).last_hidden_state
        torch.testing.assert_close(exported(**inputs).last_hidden_state, wanted, atol=1e-5, rtol=1e-5)
