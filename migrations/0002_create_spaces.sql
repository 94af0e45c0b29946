-- The embedding spaces that vectors are in. Vectors of two spaces are never compared.
CREATE TABLE orchestra.spaces (
    space smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    revision text NOT NULL,
    dimensions int NOT NULL,
    normalized boolean NOT NULL,
    UNIQUE (model, revision, dimensions, normalized)
);
