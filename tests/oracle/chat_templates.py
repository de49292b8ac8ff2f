"""Chat templates with the structure of those of public models, in words of our own: the same constructs in the same order."""

import pathlib

MODELS = {
    "tinyllama.jinja": "TinyLlama, Zephyr",
    "chatml.jinja": "ChatML, Yi, InternLM 2",
    "llama_2.jinja": "LLaMA 2",
    "llama_3.jinja": "LLaMA 3",
    "llama_3_1.jinja": "LLaMA 3.1, LLaMA 3.2",
    "mistral_0_1.jinja": "Mistral 0.1",
    "mistral_0_3.jinja": "Mistral 0.3, Mistral Nemo",
    "qwen_2_5.jinja": "Qwen 2.5",
    "qwen_3.jinja": "Qwen 3",
    "qwen_3_coder.jinja": "Qwen 3 Coder",
    "gemma_2.jinja": "Gemma 2",
    "gemma_3.jinja": "Gemma 3",
    "phi_3.jinja": "Phi-3",
    "phi_4_mini.jinja": "Phi-4 mini",
    "smollm_2.jinja": "SmolLM 2",
    "smollm_3.jinja": "SmolLM 3",
    "olmo_2.jinja": "OLMo 2, Tülu",
    "command_r.jinja": "Command R",
    "command_r_with_tools.jinja": "Command R with tools",
    "deepseek_v2.jinja": "DeepSeek V2, V3",
    "granite_3.jinja": "Granite 3",
    "falcon.jinja": "Falcon, Falcon 3",
    "glm_4.jinja": "GLM 4",
    "stablelm_2.jinja": "StableLM 2, MPT",
    "gpt_oss.jinja": "gpt-oss",
}
FOLDER = pathlib.Path(__file__).parent / "chat_templates_of_models"
TEMPLATES = {models: (FOLDER / file).read_text(encoding="utf-8") for file, models in MODELS.items()}
