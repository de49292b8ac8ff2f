# The model families, for the trainer that implements them and the coordinator that names them (GetServerInfo).
#
# A word stands for the file trainer/families/<word>.cc with `Family <Word>Family()`. It serves the model_type of
# config.json that is written like the word; others follow the word after "=", separated by commas. The first is the
# family's name.
set(families
  llama mistral mixtral qwen2 qwen2moe=qwen2_moe qwen3 qwen3moe=qwen3_moe gemma gemma2 gemma3=gemma3_text
  gemma3vision=gemma3 olmo olmo2 olmo3 olmoe cohere cohere2 granite smollm3 stablelm nemotron phi phi3 llava
  llavanext=llava_next vipllava gptneox=gpt_neox gptj gpt2 gptbigcode=gpt_bigcode opt bloom t5 t5gemma bart mbart pegasus
  marian m2m100=m2m_100 whisper)

# Sets family_words, family_names, and for each word model_types_of_<word>.
set(family_words)
set(family_names)
foreach(family IN LISTS families)
  string(REGEX MATCH "^([a-z0-9]+)(=(.*))?$" _ ${family})
  set(word ${CMAKE_MATCH_1})
  string(REPLACE "," ";" types "${CMAKE_MATCH_3}")
  if(NOT types)
    set(types ${word})
  endif()
  list(GET types 0 name)
  list(APPEND family_words ${word})
  list(APPEND family_names ${name})
  set(model_types_of_${word} ${types})
endforeach()
