"""Registers the marks of transformers' own tests."""

TRANSFORMERS_MARKS = """
    accelerate_tests flash_attn_test flash_attn_3_test flash_attn_4_test torch_compile_test
    is_training_test is_tensor_parallel_test is_fsdp_test is_pipeline_test is_expert_parallel_test slow order
""".split()


def pytest_configure(config):
    for mark in TRANSFORMERS_MARKS:
        config.addinivalue_line("markers", f"{mark}: set by transformers' own tests")
