"""JSON schemas as strict as server-side apply."""

from rendering import Manifest


def closed(schema: Manifest) -> Manifest:
    """Return the same schema, in which an unknown field is an error."""
    strict = dict(schema)
    if "properties" in schema:
        fields = schema["properties"].items()
        strict["properties"] = {name: closed(field) for name, field in fields}
        strict["additionalProperties"] = False
    if "items" in schema:
        strict["items"] = closed(schema["items"])
    return strict


def schema_of(definition: Manifest) -> Manifest:
    """Return the closed schema of a CustomResourceDefinition with one version."""
    [version] = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    # Every object has these two fields, which a CRD may leave out.
    properties = {"apiVersion": {}, "kind": {}, **schema["properties"]}
    return closed({**schema, "properties": properties})
