"""Checks a value against the part of JSON Schema that our schemas use. An unknown keyword is an error of the schema."""

KEYWORDS = {"$schema", "$id", "$defs", "$ref", "title", "description", "type", "required", "properties", "items", "enum",
            "const", "minimum", "maximum", "additionalProperties", "minItems", "maxItems", "prefixItems", "anyOf"}  # fmt: skip
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def errors(value, schema, root=None, place="report"):
    """Returns a list of "place: error"."""
    root = root or schema
    unknown = set(schema) - KEYWORDS
    if unknown:
        raise ValueError(f"{place}: the schema has keywords that this checker does not know: {sorted(unknown)}")
    if "$ref" in schema:
        return errors(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    if "anyOf" in schema:
        return [] if any(not errors(value, one, root, place) for one in schema["anyOf"]) else [f"{place}: fits nothing"]
    found = _type_errors(value, schema, place)
    if found:
        return found
    if isinstance(value, dict):
        found += _object_errors(value, schema, root, place)
    if isinstance(value, list):
        found += _array_errors(value, schema, root, place)
    return found


def _is(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def _type_errors(value, schema, place):
    found = []
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(_is(value, name) for name in names):
        found.append(f"{place}: {value!r:.60} is not {' or '.join(names)}")
    elif "const" in schema and value != schema["const"]:
        found.append(f"{place}: {value!r} is not {schema['const']!r}")
    elif "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is not one of {schema['enum']}")
    elif "minimum" in schema and value < schema["minimum"]:
        found.append(f"{place}: {value} is below {schema['minimum']}")
    elif "maximum" in schema and value > schema["maximum"]:
        found.append(f"{place}: {value} is above {schema['maximum']}")
    return found


def _object_errors(value, schema, root, place):
    found = [f"{place}: '{key}' is missing" for key in schema.get("required", []) if key not in value]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, member in value.items():
        if key in properties:
            found += errors(member, properties[key], root, f"{place}.{key}")
        elif others is False:
            found.append(f"{place}: '{key}' is not in the schema")
        elif isinstance(others, dict):
            found += errors(member, others, root, f"{place}.{key}")
    return found


def _array_errors(value, schema, root, place):
    found = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        found.append(f"{place}: {len(value)} items")
    first = schema.get("prefixItems", [])
    for index, member in enumerate(value):
        rule = first[index] if index < len(first) else schema.get("items", {})
        found += errors(member, rule, root, f"{place}[{index}]")
    return found
